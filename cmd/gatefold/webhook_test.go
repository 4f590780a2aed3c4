package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// events is a receiver that keeps what it gets, and answers as it is told.
type events struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    map[string]string // by id: the name of the record
	all    int
}

func receiveEvents(t *testing.T) *events {
	t.Helper()
	r := &events{got: map[string]string{}, status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var event struct{ Data struct{ Name []string } }
		_ = json.Unmarshal(body, &event)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.all++; r.status < 300 {
			r.got[q.Header.Get("Webhook-Id")] = strings.Join(event.Data.Name, " ")
		}
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

// names has the names of the received records, each with its number of different ids.
func (r *events) names() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]int{}
	for _, name := range r.got {
		names[name]++
	}
	return names
}

func (r *events) allow() string {
	return "webhooks {\n\t\t\tallow " + strings.TrimPrefix(r.URL, "http://") + "\n\t\t}"
}

// Two nodes share a Redis. The one that delivers is killed between changes and their
// delivery, and again and again: each change that was acknowledged arrives, each under one
// id.
func TestWebhooksSurviveKills(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	receiver := receiveEvents(t)
	dying, other := startNode(t, redis.URL(), receiver.allow()), startNode(t, redis.URL(), receiver.allow())
	secret := assigned(dying.must("webhook", "add", receiver.URL, "--type", "user.*"), "WEBHOOK_SECRET")
	made := 0
	for round := range 4 {
		writer := []*server{dying, other}[round%2]
		for range 25 {
			if status := writer.api(http.MethodPost, "/management/records/users/import", "", nil); status == http.StatusNotFound {
				t.Fatal("records cannot be imported")
			}
			made++
			if got := writer.put(t, fmt.Sprint("u", made)); got != http.StatusOK {
				t.Fatalf("user %d: %d", made, got)
			}
		}
		dying.kill()
		dying.start()
	}
	other.waitFor("every change arrived", func() bool { return len(receiver.names()) == made })
	for name, ids := range receiver.names() {
		if ids != 1 {
			t.Errorf("the change of %s has %d ids", name, ids)
		}
	}
	for _, node := range []*server{dying, other} {
		if strings.Contains(node.log.String(), secret) || secret == "" {
			t.Error("the log has the secret")
		}
	}
}

// put stores a user by a row of an import, the shortest change that is an event.
func (s *server) put(t *testing.T, user string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+s.admin+"/gatefold/management/records/users/import", strings.NewReader(`{"slug":"`+user+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	got, err := send(request)
	if err != nil || !strings.Contains(got.body, `"created":1`) {
		t.Fatalf("%v: %s", err, got.body)
	}
	return got.StatusCode
}

// An operator adds a webhook, tests it, sees why it fails, and replays: by commands alone.
func TestWebhookCommands(t *testing.T) {
	t.Parallel()
	receiver := receiveEvents(t)
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "store bolt "+s.database(), "store bolt "+s.database()+"\n\t\t"+receiver.allow(), 1))
	s.start()
	for _, refused := range []string{"http://192.0.2.1/", "https://127.0.0.1:1/", "http://localhost:2019/load", "https://169.254.169.254/", "ftp://example.com/"} {
		if got := s.command("webhook", "add", refused); got.code != 1 || !strings.Contains(got.stderr, "url: ") {
			t.Errorf("%s: %+v", refused, got)
		}
	}
	if got := s.command("webhook", "add", receiver.URL, "--type", "grant.*"); got.code != 1 || !strings.Contains(got.stderr, "types: have") {
		t.Errorf("an unknown type: %+v", got)
	}
	id := assigned(s.must("webhook", "add", receiver.URL, "--description", "mailer"), "WEBHOOK_ID")
	if got := s.must("webhook", "list"); !strings.Contains(got, id) || !strings.Contains(got, "mailer") || strings.Contains(got, "whsec_") {
		t.Errorf("the list is %s", got)
	}
	if got := s.must("webhook", "test", id); !strings.Contains(got, "accepted with the status 204") {
		t.Errorf("the test says %s", got)
	}
	receiver.mu.Lock()
	receiver.status = http.StatusGone
	receiver.mu.Unlock()
	if got := s.command("webhook", "test", id); got.code != 1 || !strings.Contains(got.stderr, "status 410") {
		t.Errorf("the test says %+v", got)
	}
	s.put(t, "ann")
	s.waitFor("the webhook is gone", func() bool { return strings.Contains(s.must("webhook", "show", id), "gone") })
	s.waitFor("the condition shows", func() bool { return strings.Contains(s.command("status").stdout, "webhook_failing") })
	dead := s.must("webhook", "dead", id)
	if !strings.Contains(dead, "user.created") || !strings.Contains(dead, "status 410") {
		t.Errorf("the dead letters are %s", dead)
	}
	receiver.mu.Lock()
	receiver.status = http.StatusNoContent
	receiver.mu.Unlock()
	if got := s.must("webhook", "replay", id); !strings.Contains(got, "1 events") {
		t.Errorf("the replay says %s", got)
	}
	s.must("webhook", "enable", id)
	s.waitFor("the replayed event arrives", func() bool { return receiver.names()["ann"] == 1 })
	if got := s.must("webhook", "rotate-secret", id, "--overlap", "1h"); !strings.Contains(got, "WEBHOOK_SECRET=whsec_") {
		t.Errorf("the rotation says %s", got)
	}
	if got := s.must("webhook", "show", id, "--json"); !strings.Contains(got, "replacedUntil") || strings.Contains(got, "whsec_") {
		t.Errorf("the webhook is %s", got)
	}
	s.must("webhook", "remove", id)
	if got := s.must("audit", "--kind", "webhook"); !strings.Contains(got, "create-webhook") || strings.Contains(got, "whsec_") {
		t.Errorf("the audit log is %s", got)
	}
}

// The receiver of docs/webhooks.md, run as it is printed, accepts what a server sends, once
// each, and refuses what another secret signed.
func TestWebhookReceiverOfTheDocument(t *testing.T) {
	t.Parallel()
	program := regexp.MustCompile("(?s)```python\n(.*?)```").FindStringSubmatch(readTree(t, "docs/webhooks.md"))
	if program == nil {
		t.Fatal("docs/webhooks.md has no receiver")
	}
	port := keystest.FreePort(t)
	s := newServer(t)
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "store bolt "+s.database(), "store bolt "+s.database()+"\n\t\twebhooks {\n\t\t\tallow 127.0.0.1:"+port+"\n\t\t}", 1))
	s.start()
	added := s.must("webhook", "add", "http://127.0.0.1:"+port+"/") + "\n"
	id, secret := assigned(added, "WEBHOOK_ID"), assigned(added, "WEBHOOK_SECRET")
	file := filepath.Join(s.dir, "receiver.py")
	if err := os.WriteFile(file, []byte(program[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(secret string) (output *keystest.Log, stop func()) {
		output = new(keystest.Log)
		process := exec.Command("python3", "-u", file)
		process.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "PORT="+port)
		process.Stdout, process.Stderr = output, output
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		stop = sync.OnceFunc(func() {
			_ = process.Process.Kill()
			_ = process.Wait()
		})
		t.Cleanup(stop)
		s.waitFor("the receiver listens", func() bool { _, err := fetch("http://127.0.0.1:" + port + "/"); return err == nil })
		return output, stop
	}
	output, stop := run("whsec_" + strings.Repeat("A", 43) + "=")
	if got := s.command("webhook", "test", id); got.code != 1 || !strings.Contains(got.stderr, "status 401") {
		t.Errorf("signed with another secret: %+v\n%s", got, output)
	}
	stop()
	output, _ = run(secret)
	s.must("webhook", "test", id)
	s.put(t, "ann")
	s.waitFor("the event is printed", func() bool { return strings.Contains(output.String(), "user.created") })
	if got := strings.Count(output.String(), "user.created"); got != 1 {
		t.Errorf("the receiver printed\n%s", output)
	}
}

// assigned returns the value of a shell assignment among the lines of a text.
func assigned(text, name string) string {
	_, rest, _ := strings.Cut(text, name+"=")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
