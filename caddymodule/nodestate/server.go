package nodestate

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gatefold/gatefold/admin/condition"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// Server knows what the last inspection of a Redis server found. It is safe for
// concurrent use.
type Server struct {
	stops time.Duration

	mu    sync.Mutex
	found redisengine.Inspection
}

// Inspected records the result of an inspection.
func (s *Server) Inspected(found redisengine.Inspection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = found
}

// ClockAhead returns how far the server's clock is ahead of this node's.
func (s *Server) ClockAhead() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found.ClockAhead
}

var riskKinds = map[redisengine.RiskKind]*condition.Kind{
	redisengine.RiskEviction:        redisEvicts,
	redisengine.RiskNotPersistent:   redisNotPersistent,
	redisengine.RiskSyncsLate:       redisSyncsLate,
	redisengine.RiskMemoryFilling:   redisMemoryFilling,
	redisengine.RiskMemoryFull:      redisMemoryFull,
	redisengine.RiskReadOnly:        redisReplica,
	redisengine.RiskReplicasMissing: replicasMissing,
}

func (s *Server) findings() []condition.Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	var findings []condition.Finding
	for _, risk := range s.found.Risks {
		findings = append(findings, condition.Finding{Kind: riskKinds[risk.Kind], What: sentence(risk.Text)})
	}
	if s.found.ClockAhead.Abs() > maxClockDifference {
		findings = append(findings, clockFinding("Redis", "the Redis server", s.found.ClockAhead))
	}
	if s.found.ClockAhead.Abs() > s.stops {
		stopped := clockFinding("", "the Redis server", s.found.ClockAhead)
		stopped.Kind = clockStopped
		stopped.What += " Counted links are answered 503, and no link, session or token is signed."
		findings = append(findings, stopped)
	}
	return findings
}

// maxClockDifference is the difference of two clocks from which it is a condition.
const maxClockDifference = 30 * time.Second

// ClockStops is the difference from which a node neither redeems links nor signs.
const ClockStops = 5 * time.Minute

// clockFinding is the finding that another clock is ahead of this node's, or behind.
func clockFinding(subject, of string, ahead time.Duration) condition.Finding {
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	return condition.Finding{
		Kind: clockOff, Subject: subject,
		What: fmt.Sprintf("The clock of %s is %v %s this node's.", of, ahead.Abs().Round(time.Second), direction),
	}
}

// sentence writes an error text as a sentence.
func sentence(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
