package api

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/server"
	"github.com/klamm-io/klamm/internal/wire"
)

// ApiVersions: v0-4
//
// Behaviour:
//   - A version that does not exist is answered in v0 with UNSUPPORTED_VERSION and the range of ApiVersions itself
//     (DETAILS 1, KIP-511). The response header is v0 in every version.
//   - The list is wire.APIs: a key stands in it only when its handler is whole.
//
// Version notes: v3: software's name and version, features. v4: features of minimum 0 are told.
func (h *Handler) apiVersions(c *call, req *kmsg.ApiVersionsRequest) server.Outcome {
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	if req.Version >= 3 {
		if !softwareName.MatchString(req.ClientSoftwareName) || !softwareName.MatchString(req.ClientSoftwareVersion) {
			resp.ErrorCode = kerr.InvalidRequest.Code
			return c.reply(resp)
		}
		c.Conn.SetClientSoftware(req.ClientSoftwareName, req.ClientSoftwareVersion)
	}
	resp.ApiKeys = advertised(c.Conn.Controller())
	image := h.Image()
	resp.FinalizedFeaturesEpoch = image.Offset
	for _, f := range metadata.SupportedFeatures() {
		if f.Min == 0 && req.Version < 4 {
			continue
		}
		resp.SupportedFeatures = append(resp.SupportedFeatures, kmsg.ApiVersionsResponseSupportedFeature{Name: f.Name, MinVersion: f.Min, MaxVersion: f.Max})
	}
	for name, level := range image.Features() {
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: name, MaxVersionLevel: level, MinVersionLevel: level})
	}
	if level := h.Quorum.KRaftVersion(); level > 0 { // it stands in control records, not in the image
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, kmsg.ApiVersionsResponseFinalizedFeature{Name: metadata.KRaftVersionFeature, MaxVersionLevel: level, MinVersionLevel: level})
	}
	return c.reply(resp)
}

// softwareName is what KIP-511 allows in a client's name and version.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// unsupportedVersions answers an ApiVersions version that does not exist.
func (h *Handler) unsupportedVersions(c *call) server.Outcome {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	for _, k := range advertised(c.Conn.Controller()) {
		if k.ApiKey == c.Header.Key {
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
	}
	c.Reply(wire.Encode(c.Header.Key, 0, c.Header.CorrelationID, resp))
	return server.Done
}

func advertised(controller bool) []kmsg.ApiVersionsResponseApiKey {
	var keys []kmsg.ApiVersionsResponseApiKey
	for _, a := range wire.APIs() {
		if least, most, ok := a.Advertised(controller); ok {
			keys = append(keys, kmsg.ApiVersionsResponseApiKey{ApiKey: a.Key, MinVersion: least, MaxVersion: most})
		}
	}
	return keys
}
