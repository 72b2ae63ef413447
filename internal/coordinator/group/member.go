package group

import (
	"bytes"
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/machine"
)

// member is one member of a classic group.
type member struct {
	id         string
	instanceID *string
	clientID   string
	clientHost string

	rebalanceTimeout int32 // ms
	sessionTimeout   int32 // ms
	protocols        []kmsg.JoinGroupRequestProtocol
	assignment       []byte

	join, sync waiter
	session    timer
	isNew      bool // its client may not know its id yet
	owesSync   bool // it got this generation and has not sent SyncGroup
}

// waiter is a request that is answered later.
type waiter struct {
	waits   bool
	token   machine.Token
	version int16
}

func waiting(t *turn, version int16) waiter {
	return waiter{waits: true, token: t.cmd.Token, version: version}
}

// metadata is what the member said for a protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// sameProtocols says that nothing changed in what the member supports.
func (m *member) sameProtocols(o []kmsg.JoinGroupRequestProtocol) bool {
	if len(m.protocols) != len(o) {
		return false
	}
	for i, p := range m.protocols {
		if p.Name != o[i].Name || !bytes.Equal(p.Metadata, o[i].Metadata) {
			return false
		}
	}
	return true
}

// alive says that the session's end means nothing: the member is known to wait for us.
func (m *member) alive() bool { return !m.isNew && (m.join.waits || m.sync.waits) }

// answerJoin ends the member's JoinGroup, if there is one. Member ids and versions are filled in here.
func (g *classic) answerJoin(t *turn, m *member, r kmsg.JoinGroupResponse) {
	if !m.join.waits {
		return
	}
	t.reply(m.join.token, joinResponse(m.join.version, r))
	m.join = waiter{}
	g.joining--
}

// joinResponse fits a response to its version: a protocol that is not there is an empty string before version 7.
func joinResponse(version int16, r kmsg.JoinGroupResponse) *kmsg.JoinGroupResponse {
	r.Version = version
	if version < 7 && r.Protocol == nil {
		none := ""
		r.Protocol = &none
	}
	if version >= 7 && r.Protocol != nil && *r.Protocol == "" {
		r.Protocol = nil
	}
	return &r
}

func (g *classic) answerSync(t *turn, m *member, r kmsg.SyncGroupResponse) {
	if !m.sync.waits {
		return
	}
	r.Version = m.sync.version
	t.reply(m.sync.token, &r)
	m.sync = waiter{}
}

// subscription reads the topics of a consumer's subscription. All versions start as version 0 does: version, topics.
func subscription(metadata []byte) ([]string, error) {
	b := kbin.Reader{Src: metadata}
	if v := b.Int16(); v < 0 {
		return nil, fmt.Errorf("group: subscription has version %d", v)
	}
	n := b.ArrayLen()
	if int(n)*2 > len(b.Src) {
		return nil, kbin.ErrNotEnoughData
	}
	topics := make([]string, 0, max(n, 0))
	for range n {
		topics = append(topics, b.String())
	}
	b.NullableBytes() // user data
	if !b.Ok() {
		return nil, kbin.ErrNotEnoughData
	}
	return topics, nil
}
