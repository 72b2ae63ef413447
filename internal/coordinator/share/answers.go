package share

import "github.com/twmb/franz-go/pkg/kmsg"

// Answers to requests of one share partition.

func (f *fault) code() (int16, *string) {
	if f == nil {
		return 0, nil
	}
	return f.Code, &f.message
}

func initializeAnswer(req *kmsg.InitializeShareGroupStateRequest, err *fault) kmsg.Response {
	resp := &kmsg.InitializeShareGroupStateResponse{Version: req.Version}
	for i := range req.Topics {
		t := kmsg.InitializeShareGroupStateResponseTopic{TopicID: req.Topics[i].TopicID}
		for _, in := range req.Topics[i].Partitions {
			p := kmsg.InitializeShareGroupStateResponseTopicPartition{Partition: in.Partition}
			p.ErrorCode, p.ErrorMessage = err.code()
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func readAnswer(req *kmsg.ReadShareGroupStateRequest, e *entry, err *fault) kmsg.Response {
	resp := &kmsg.ReadShareGroupStateResponse{Version: req.Version}
	for i := range req.Topics {
		t := kmsg.ReadShareGroupStateResponseTopic{TopicID: req.Topics[i].TopicID}
		for _, in := range req.Topics[i].Partitions {
			p := kmsg.ReadShareGroupStateResponseTopicPartition{Partition: in.Partition}
			p.ErrorCode, p.ErrorMessage = err.code()
			if e != nil {
				p.StateEpoch, p.StartOffset = e.stateEpoch, e.start
				for _, b := range e.batches {
					p.StateBatches = append(p.StateBatches, kmsg.ReadShareGroupStateResponseTopicPartitionStateBatch{
						FirstOffset: b.FirstOffset, LastOffset: b.LastOffset, DeliveryState: b.DeliveryState, DeliveryCount: b.DeliveryCount,
					})
				}
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func writeAnswer(req *kmsg.WriteShareGroupStateRequest, err *fault) kmsg.Response {
	resp := &kmsg.WriteShareGroupStateResponse{Version: req.Version}
	for i := range req.Topics {
		t := kmsg.WriteShareGroupStateResponseTopic{TopicID: req.Topics[i].TopicID}
		for j := range req.Topics[i].Partitions {
			p := kmsg.WriteShareGroupStateResponseTopicPartition{Partition: req.Topics[i].Partitions[j].Partition}
			p.ErrorCode, p.ErrorMessage = err.code()
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func deleteAnswer(req *kmsg.DeleteShareGroupStateRequest, err *fault) kmsg.Response {
	resp := &kmsg.DeleteShareGroupStateResponse{Version: req.Version}
	for i := range req.Topics {
		t := kmsg.DeleteShareGroupStateResponseTopic{TopicID: req.Topics[i].TopicID}
		for _, in := range req.Topics[i].Partitions {
			p := kmsg.DeleteShareGroupStateResponseTopicPartition{Partition: in.Partition}
			p.ErrorCode, p.ErrorMessage = err.code()
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

func summaryAnswer(req *kmsg.ReadShareGroupStateSummaryRequest, e *entry, err *fault) kmsg.Response {
	resp := &kmsg.ReadShareGroupStateSummaryResponse{Version: req.Version}
	for i := range req.Topics {
		t := kmsg.ReadShareGroupStateSummaryResponseTopic{TopicID: req.Topics[i].TopicID}
		for _, in := range req.Topics[i].Partitions {
			p := kmsg.NewReadShareGroupStateSummaryResponseTopicPartition()
			p.Partition = in.Partition
			p.ErrorCode, p.ErrorMessage = err.code()
			if e != nil {
				p.StateEpoch, p.LeaderEpoch, p.StartOffset, p.DeliveryCompleteCount = e.stateEpoch, e.leaderEpoch, e.start, e.complete
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}
