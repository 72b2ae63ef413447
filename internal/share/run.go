package share

// Close gives up every share partition and ends every session: what waits is answered. What the persister answers from
// then on is not heard.
func (s *Set) Close() {
	s.mu.Lock()
	s.closed = true
	var all []*partition
	for _, g := range s.groups { // order does not matter: all go
		for _, p := range g {
			all = append(all, p)
		}
	}
	s.mu.Unlock()
	s.sessions.close()
	for _, p := range all {
		p.drop(errClosed)
	}
	s.tasks.Wait()
}
