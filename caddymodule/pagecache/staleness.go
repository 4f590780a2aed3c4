package pagecache

import (
	"sync"
	"time"
)

// StaleEnds is how long after the last use of an expired page because of the origin such uses
// are over: the next one begins another time of them.
const StaleEnds = time.Minute

// Staleness is the use of expired pages because the origin failed.
type Staleness struct {
	// Since is when it began, and Last the last use; zero for never.
	Since, Last time.Time
	// Pages counts the uses since it began.
	Pages int64
}

// staleness collects it. It is safe for concurrent use.
type staleness struct {
	mu  sync.Mutex
	now Staleness
}

// served notes that an expired page is sent because the origin failed.
func (s *staleness) served(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Last.IsZero() || at.Sub(s.now.Last) >= StaleEnds {
		s.now = Staleness{Since: at}
	}
	s.now.Last = at
	s.now.Pages++
}

func (s *staleness) get() Staleness {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
