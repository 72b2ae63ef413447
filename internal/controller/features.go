package controller

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/metadata"
	"github.com/klamm-io/klamm/internal/schema"
)

// supportedFeatures is what this release supports, unless Options say otherwise.
func supportedFeatures() map[string]FeatureRange {
	features := map[string]FeatureRange{}
	for _, f := range metadata.SupportedFeatures() {
		features[f.Name] = FeatureRange{f.Min, f.Max}
	}
	return features
}

// finalised is the level of a feature that the cluster has agreed on.
func (c *Controller) finalised(name string) int16 {
	if name == metadata.KRaftVersionFeature {
		return c.options.KRaftVersion
	}
	return c.state.image.Feature(name)
}

// finalisedNames are the features above level 0, in order.
func (c *Controller) finalisedNames() []string {
	var names []string
	for name, level := range c.state.image.Features() {
		if level != 0 {
			names = append(names, name)
		}
	}
	if c.options.KRaftVersion > 0 {
		names = append(names, metadata.KRaftVersionFeature)
	}
	return names
}

// Upgrade types of UpdateFeatures.
const (
	typeUpgrade         = int8(1)
	typeSafeDowngrade   = int8(2)
	typeUnsafeDowngrade = int8(3)
)

// featureUpdate is one feature's wanted level; of a feature given twice the later one counts.
type featureUpdate struct {
	name  string
	level int16
	kind  int8
}

// updateFeatures answers UpdateFeatures (KIP-584, 778, 1022): all updates or none.
func (c *Controller) updateFeatures(op *operation, req *kmsg.UpdateFeaturesRequest) (any, error) {
	var updates []featureUpdate
	at := map[string]int{}
	for _, f := range req.FeatureUpdates {
		u := featureUpdate{f.Feature, f.MaxVersionLevel, f.UpgradeType}
		if req.Version == 0 {
			u.kind = typeUpgrade
		}
		if i, twice := at[u.name]; twice {
			updates[i] = u
			continue
		}
		at[u.name] = len(updates)
		updates = append(updates, u)
	}
	wanted := func(name string) int16 {
		if i, ok := at[name]; ok {
			return updates[i].level
		}
		return c.finalised(name)
	}
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	if i, ok := at[metadata.ELRVersionFeature]; ok && updates[i].level > 0 {
		c.elrSafety(op)
	}
	for _, u := range updates {
		if err := c.updateFeature(op, u, wanted); err != nil {
			_, message := codeOf(err)
			why := "The update failed for all features since the following feature had an error: " + *message
			op.records = nil
			resp.ErrorCode, resp.ErrorMessage = kerr.InvalidUpdateVersion.Code, &why
			return resp, nil
		}
	}
	if req.ValidateOnly {
		op.records = nil
	}
	if req.Version <= 1 {
		none := "NONE" // what Kafka sends with error code 0
		for _, f := range req.FeatureUpdates {
			resp.Results = append(resp.Results, kmsg.UpdateFeaturesResponseResult{Feature: f.Feature, ErrorMessage: &none})
		}
	}
	return resp, nil
}

func (c *Controller) updateFeature(op *operation, u featureUpdate, wanted func(string) int16) error {
	invalid := func(format string, args ...any) error {
		return refuse(kerr.InvalidUpdateVersion, "Invalid update version %d for feature %s. %s", u.level, u.name, fmt.Sprintf(format, args...))
	}
	if u.kind < typeUpgrade || u.kind > typeUnsafeDowngrade {
		return invalid("The controller does not support the given upgrade type.")
	}
	if u.level < 0 {
		return invalid("A feature version cannot be less than 0.")
	}
	if why := c.unsupported(u); why != "" {
		return invalid("%s", why)
	}
	now := c.finalised(u.name)
	switch {
	case u.level < now && u.kind == typeUpgrade:
		return invalid("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	case u.level > now && u.kind != typeUpgrade:
		return invalid("Can't downgrade to a newer version.")
	}
	switch u.name {
	case metadata.MetadataVersionFeature:
		if u.level < now && metadata.MetadataChanged(now, u.level) {
			why := "Refusing to perform the requested downgrade because it might delete metadata information."
			if u.kind == typeUnsafeDowngrade {
				why = "Unsafe metadata downgrade is not supported in this version."
			}
			return refuse(kerr.InvalidUpdateVersion, "Unsupported metadata.version downgrade from %d to %d. %s", now, u.level, why)
		}
	case metadata.KRaftVersionFeature:
		switch {
		case u.level < now:
			return invalid("Can't downgrade the version of this feature.")
		case u.level > now:
			return invalid("Changing the quorum's version while it runs is not supported.")
		}
		return nil
	default:
		if err := metadata.CheckFeature(u.name, u.level, wanted); err != nil {
			return invalid("%s", err)
		}
	}
	op.add(&schema.FeatureLevel{Name: u.name, FeatureLevel: u.level})
	return nil
}

// unsupported says which node does not support the update, if one does not.
func (c *Controller) unsupported(u featureUpdate) string {
	check := func(what string, low, high int16) string {
		switch {
		case u.level >= low && u.level <= high:
			return ""
		case high == 0:
			return what + " does not support this feature."
		case low == high:
			return fmt.Sprintf("%s only supports versions %d", what, low)
		}
		return fmt.Sprintf("%s only supports versions %d-%d", what, low, high)
	}
	local := c.options.Features[u.name]
	if why := check(fmt.Sprintf("Local controller %d", c.options.NodeID), local.Min, local.Max); why != "" {
		return why
	}
	for b := range c.brokers() {
		r, _ := b.Feature(u.name)
		if why := check(fmt.Sprintf("Broker %d", b.ID), r.MinSupportedVersion, r.MaxSupportedVersion); why != "" {
			return why
		}
	}
	if c.metadataVersion() < metadata.MVControllerRegistration {
		return ""
	}
	for node := range c.state.image.Controllers() {
		if node.ID == c.options.NodeID {
			continue
		}
		r, _ := node.Feature(u.name)
		if why := check(fmt.Sprintf("Controller %d", node.ID), r.MinSupportedVersion, r.MaxSupportedVersion); why != "" {
			return why
		}
	}
	for _, id := range c.options.Voters {
		if _, ok := c.state.image.Controller(id); !ok && id != c.options.NodeID {
			return fmt.Sprintf("controller %d has not registered, and may not support this feature", id)
		}
	}
	return ""
}
