package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/klamm-io/klamm/internal/machine"
)

// store is a machine of keys and values, to see the host's rules by.
type store struct {
	values  map[string]string
	pending map[int64]map[string]string // by producer
	parked  map[string][]machine.Token
	alarm   time.Time
	alarms  []machine.Token
	bad     string // Apply refuses this key
}

// The store's commands.
type (
	put      struct{ key, value string } // answered with the value before
	putAll   struct{ pairs []put }
	putTxn   struct{ key, value string }
	get      struct{ key string }
	getAll   struct{}
	await    struct{ key string } // answered by the next put
	wake     struct{ after time.Duration }
	job      struct{ text string }
	jobIsRun struct {
		token machine.Token
		text  string
	}
	poison struct{ key string }
)

func newStore() *store {
	return &store{values: map[string]string{}, pending: map[int64]map[string]string{}, parked: map[string][]machine.Token{}}
}

func (s *store) Keys(cmd machine.Command) []string {
	switch c := cmd.Body.(type) {
	case put:
		return []string{c.key}
	case putTxn:
		return []string{c.key}
	case get:
		return []string{c.key}
	case await:
		return []string{c.key}
	case wake, job, jobIsRun, poison:
		return []string{}
	}
	return nil
}

func (s *store) Handle(in machine.Input, cmd machine.Command) (r machine.Result[machine.Record]) {
	answer := func(v any) { r.Replies = append(r.Replies, machine.Reply{Token: cmd.Token, Value: v}) }
	add := func(key, value string) {
		r.Records = append(r.Records, machine.Record{Key: []byte(key), Value: []byte(value)})
	}
	switch c := cmd.Body.(type) {
	case put:
		add(c.key, c.value)
		answer(s.values[c.key])
		for _, token := range s.parked[c.key] {
			r.Replies = append(r.Replies, machine.Reply{Token: token, Value: c.value})
		}
		delete(s.parked, c.key)
	case putAll:
		for _, p := range c.pairs {
			add(p.key, p.value)
		}
		answer("ok")
	case putTxn:
		add(c.key, c.value)
		r.Producer = &machine.Producer{ID: 7, Epoch: 1, Transactional: true}
		answer("ok")
	case get:
		answer(s.values[c.key])
	case getAll:
		answer(fmt.Sprint(s.values))
	case await:
		s.parked[c.key] = append(s.parked[c.key], cmd.Token)
	case wake:
		s.alarm = in.Now.Add(c.after)
		s.alarms = append(s.alarms, cmd.Token)
	case machine.Tick:
		for _, token := range s.alarms {
			r.Replies = append(r.Replies, machine.Reply{Token: token, Value: in.Now})
		}
		s.alarm, s.alarms = time.Time{}, nil
	case machine.Marker:
		for k, v := range s.pending[c.Producer.ID] {
			if c.Commit {
				s.values[k] = v
			}
		}
		delete(s.pending, c.Producer.ID)
		answer(nil)
	case job:
		token := cmd.Token
		r.Jobs = append(r.Jobs, func() any { return jobIsRun{token, c.text + "!"} })
	case jobIsRun:
		r.Replies = append(r.Replies, machine.Reply{Token: c.token, Value: c.text})
	case poison:
		s.bad = c.key
		answer("ok")
	}
	return r
}

func (s *store) Apply(r machine.Record, pos machine.Position) error {
	if s.bad != "" && string(r.Key) == s.bad {
		return errors.New("poisoned")
	}
	if pos.Producer.Transactional {
		if s.pending[pos.Producer.ID] == nil {
			s.pending[pos.Producer.ID] = map[string]string{}
		}
		s.pending[pos.Producer.ID][string(r.Key)] = string(r.Value)
		return nil
	}
	s.values[string(r.Key)] = string(r.Value)
	return nil
}

func (s *store) Refuse(_ machine.Command, err error) any { return err }

func (s *store) NextDeadline() (time.Time, bool) { return s.alarm, !s.alarm.IsZero() }
