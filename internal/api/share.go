package api

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/coordinator/share"
	"github.com/klamm-io/klamm/internal/machine"
)

const shareStateTopic = "__share_group_state"

// How often and how long a share coordinator that is not there yet is asked again.
const (
	shareStateAttempts = 8
	shareStatePause    = 25 * time.Millisecond
	shareStatePauseMax = 1 * time.Second
)

// ShareState asks the share coordinator of the one share partition that the request names (keys 83 to 87). reply is called
// exactly once, on any goroutine, which it must not block; errors are codes in the response. The coordinator's topic is
// created when it is missing, and while its partition is elected or loads, the request is tried again: all of these
// requests may be repeated.
func (h *Handler) ShareState(req kmsg.Request, reply func(kmsg.Response)) {
	h.shareStateTopic(func() { h.shareState(req, 1, reply) })
}

// ShareStateOnce is ShareState for those who try again themselves.
func (h *Handler) ShareStateOnce(req kmsg.Request, reply func(kmsg.Response)) {
	h.shareStateTopic(func() { h.askShare(req, machine.Client{}, reply) })
}

// shareStateTopic has the coordinator's topic created if it is missing; then runs when it is there or has failed.
func (h *Handler) shareStateTopic(then func()) {
	if _, there := h.Image().Topic(shareStateTopic); !there {
		h.createTopic(machine.Client{Principal: "User:ANONYMOUS"}, shareStateTopic, then)
		return
	}
	then()
}

func (h *Handler) shareState(req kmsg.Request, attempt int, reply func(kmsg.Response)) {
	h.askShare(req, machine.Client{}, func(resp kmsg.Response) {
		switch shareStateCode(resp) {
		case kerr.NotCoordinator.Code, kerr.CoordinatorLoadInProgress.Code:
			if attempt < shareStateAttempts {
				later(min(shareStatePause<<attempt, shareStatePauseMax), func() { h.shareState(req, attempt+1, reply) })
				return
			}
		}
		reply(resp)
	})
}

// askShare gives a request of one share partition to its coordinator.
func (h *Handler) askShare(req kmsg.Request, client machine.Client, reply func(kmsg.Response)) {
	cmd := machine.Command{Body: req, Client: client}
	k, ok := share.KeyOf(req)
	if !ok {
		reply(share.Refuse(cmd, kerr.InvalidRequest).(kmsg.Response))
		return
	}
	h.Shares.Submit(h.Shares.Partition(k.String()), cmd, func(v any) { reply(v.(kmsg.Response)) })
}

// shareStateCode is the error code in the answer for one share partition.
func shareStateCode(resp kmsg.Response) int16 {
	switch r := resp.(type) {
	case *kmsg.InitializeShareGroupStateResponse:
		return r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.ReadShareGroupStateResponse:
		return r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.WriteShareGroupStateResponse:
		return r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.DeleteShareGroupStateResponse:
		return r.Topics[0].Partitions[0].ErrorCode
	case *kmsg.ReadShareGroupStateSummaryResponse:
		return r.Topics[0].Partitions[0].ErrorCode
	}
	return 0
}
