package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/caddymodule/login"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// fillSessions stores sessions of as many readers in the database of a server that does not run,
// and returns their tickets.
func (s *server) fillSessions(secret string, sessions int) []string {
	s.t.Helper()
	tickets := ticketsOf(s.t, secret)
	database, err := boltengine.Open(s.database())
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := database.Close(); err != nil {
			s.t.Fatal(err)
		}
	}()
	made := make([]string, 0, sessions)
	for now := time.Now().UTC(); len(made) < sessions; {
		batch := new(engine.Batch)
		for range min(1000, sessions-len(made)) {
			ticket, id := tickets.New()
			user := fmt.Sprintf("reader-%07d", len(made))
			stored, err := json.Marshal(store.LoginSession{
				ID: id, Site: "default", Issuer: "https://id.example.com", ClientID: "news", Subject: user, UserID: user, Email: user + "@example.com",
				CreatedAt: now, SeenAt: now, EndsAt: now.Add(400 * 24 * time.Hour), IdleSeconds: 30 * 24 * 3600,
			})
			if err != nil {
				s.t.Fatal(err)
			}
			batch.Puts = append(batch.Puts, engine.Put{Key: []byte("$" + id), Value: stored})
			made = append(made, ticket)
		}
		if _, err := database.Commit(s.t.Context(), "default", batch); err != nil {
			s.t.Fatal(err)
		}
	}
	return made
}

// readAll opens a page with each of some tickets.
func (s *server) readAll(tickets []string) {
	s.t.Helper()
	const clients = 4
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for at := i; at < len(tickets); at += clients {
				request, err := http.NewRequestWithContext(s.t.Context(), http.MethodHead, s.site+"/account", nil)
				if err != nil {
					s.t.Error(err)
					return
				}
				request.Header.Set("Cookie", login.CookieSession+"="+tickets[at])
				request.Header.Set("X-Forwarded-Proto", "https")
				response, err := transport.RoundTrip(request)
				if err != nil || response.StatusCode != http.StatusOK {
					s.t.Errorf("session %d: %v, %v", at, response, err)
					return
				}
				_ = response.Body.Close()
			}
		})
	}
	group.Wait()
}

// knownReaders returns how many credentials of readers the server knew from memory.
func (s *server) knownReaders() int {
	s.t.Helper()
	found := regexp.MustCompile(`(?m)^gatefold_cache_hits_total\{cache="reader_tokens".*\} (\S+)$`).FindStringSubmatch(s.get("http://" + s.admin + "/metrics").body)
	if found == nil {
		s.t.Fatal("the metric of the cache is missing")
	}
	hits, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return int(hits)
}

// The readers of a newspaper have 100,000 sessions, and each opens a page of a server: the process
// has at most 48 MiB of anonymous memory more than when it was idle. The sessions are known from
// memory then: the store is not read for them. Go collects garbage early (GOGC), since how much of
// it a process has is no matter of sessions: by default, as much as what is in use.
func TestHundredThousandSessionsInAServer(t *testing.T) {
	t.Parallel()
	const sessions, most, secret = 100_000, 48 << 10, "the secret of this server" // most in KiB
	s := newServer(t)
	file := filepath.Join(s.dir, "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s.withLogin()
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "store bolt "+s.database(), "store bolt "+s.database()+"\n\t\tsecret {file."+file+"}", 1)
	s.writeConfig(strings.ReplaceAll(text, "\tlog {\n\t\timport without_tokens\n\t}\n", "")) // without an access log
	s.variables = append(s.variables, "GOGC=10")
	tickets := s.fillSessions(secret, sessions)
	s.start()
	idle := s.anonymousMemory()
	began := time.Now()
	s.readAll(tickets)
	took := time.Since(began)
	hits := s.knownReaders()
	again := tickets[:sessions/20]
	s.readAll(again)
	hits = s.knownReaders() - hits
	hot := s.anonymousMemory()
	t.Logf("%d sessions take %d KiB: the process has %d KiB idle, and %d KiB after as many requests in %v; of %d sessions %d are known", sessions, hot-idle, idle, hot, took.Round(time.Millisecond), len(again), hits)
	if hot-idle > most {
		t.Errorf("%d sessions take %d KiB, of %d at most", sessions, hot-idle, most)
	}
	if hits < len(again)*98/100 {
		t.Errorf("of %d sessions %d are known from memory", len(again), hits)
	}
}
