package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// chaosRecord is a grant or a link that a gate acknowledged.
type chaosRecord struct {
	path string // of the API
	// removal is whether it was removed or revoked: not, tried, or acknowledged.
	removal removalState
	// held: clients leave it to the fault to remove it.
	held bool
}

type removalState int

const (
	kept removalState = iota
	removalTried
	removalAcknowledged
)

// chaosPass opens a page, until it is taken away: a grant of a reader, or a link without a
// maximum.
type chaosPass struct {
	*chaosRecord
	address string
	headers []string

	removed atomic.Pointer[time.Time] // when that was acknowledged
	tried   atomic.Bool
}

// chaosLedger is what clients know of the writes that were acknowledged to them.
type chaosLedger struct {
	mu      sync.Mutex
	records []*chaosRecord
	writes  int // that were acknowledged
	refused int
}

// call calls the management API once. The status is zero without an answer.
func (s *server) call(method, path, body string) (status int, text string) {
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.admin+"/gatefold"+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := onceClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	var answer json.RawMessage
	_ = json.NewDecoder(response.Body).Decode(&answer)
	return response.StatusCode, string(answer)
}

const (
	chaosGrants = "/management/access-lists/src_default/grants"
	chaosLinks  = "/management/signed-links"
)

// create makes a grant or a link at a node. It returns nil unless that was acknowledged.
func (l *chaosLedger) create(node *server, grant bool, user string) (record *chaosRecord, token string) {
	return l.add(node, grant, user, false)
}

// createHeld makes one that clients do not remove.
func (l *chaosLedger) createHeld(node *server, grant bool, user string) (record *chaosRecord, token string) {
	return l.add(node, grant, user, true)
}

func (l *chaosLedger) add(node *server, grant bool, user string, held bool) (record *chaosRecord, token string) {
	path, call, body, id := chaosLinks, "/management/create-signed-link", `{"sku":"premium"}`, `"tokenId":"`
	if grant {
		path, call, body, id = chaosGrants, chaosGrants, fmt.Sprintf(`{"userId":%q,"sku":"premium"}`, user), `"id":"`
	}
	status, text := node.call(http.MethodPost, call, body)
	l.mu.Lock()
	defer l.mu.Unlock()
	if status < 200 || status > 299 {
		l.refused++
		return nil, ""
	}
	record = &chaosRecord{path: path + "/" + between(text, id), held: held}
	l.writes++
	l.records = append(l.records, record)
	return record, between(text, `"token":"`)
}

// remove removes a record at a node. It reports whether that was acknowledged.
func (l *chaosLedger) remove(node *server, record *chaosRecord) bool {
	l.mu.Lock()
	record.removal = removalTried
	l.mu.Unlock()
	status, _ := node.call(http.MethodDelete, record.path, "")
	l.mu.Lock()
	defer l.mu.Unlock()
	if status < 200 || status > 299 {
		l.refused++
		return false
	}
	l.writes++
	record.removal = removalAcknowledged
	return true
}

// any returns a record that was never removed and is not held, or nil.
func (l *chaosLedger) any(random *rand.Rand) *chaosRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == 0 {
		return nil
	}
	if record := l.records[random.IntN(len(l.records))]; record.removal == kept && !record.held {
		return record
	}
	return nil
}

func (l *chaosLedger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

// audit compares the records at a node with the ledger. It returns the paths of those that
// are not there any more, and of those that are there again.
func (l *chaosLedger) audit(node *server) (lost, reopened []string, err error) {
	for _, record := range l.records {
		got, err := fetch("http://" + node.admin + "/gatefold" + record.path)
		if err != nil {
			return nil, nil, err
		}
		there := got.StatusCode == http.StatusOK && !strings.Contains(got.body, `"status":"revoked"`)
		if got.StatusCode != http.StatusOK && got.StatusCode != http.StatusNotFound {
			return nil, nil, fmt.Errorf("%s is answered %d: %s", record.path, got.StatusCode, got.body)
		}
		switch {
		case record.removal == kept && !there:
			lost = append(lost, record.path)
		case record.removal == removalAcknowledged && there:
			reopened = append(reopened, record.path)
		}
	}
	return lost, reopened, nil
}
