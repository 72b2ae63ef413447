package controller

import (
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/klamm-io/klamm/internal/schema"
)

// producerIDBlock is how many ids a broker gets at once.
const producerIDBlock = 1000

// allocateProducerIDs answers AllocateProducerIds (KIP-730): the next block of ids, never given twice.
func (c *Controller) allocateProducerIDs(op *operation, req *kmsg.AllocateProducerIDsRequest) (any, error) {
	if _, err := c.checkBrokerEpoch(req.BrokerID, req.BrokerEpoch); err != nil {
		return nil, err
	}
	first := c.state.image.NextProducerID()
	if first > math.MaxInt64-producerIDBlock {
		return nil, bare(kerr.UnknownServerError) // all ids are spent
	}
	op.add(&schema.ProducerIds{BrokerID: req.BrokerID, BrokerEpoch: req.BrokerEpoch, NextProducerID: first + producerIDBlock})
	resp := req.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
	resp.ProducerIDStart, resp.ProducerIDLen = first, producerIDBlock
	return resp, nil
}
