package admin_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store/engine"
)

func withKey(key string) http.Header {
	return http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {key}}
}

// grants returns the number of grants in the default list.
func (b *fixture) grants() int {
	b.Helper()
	var grants []any
	b.call(http.MethodGet, defaultPath, "").want(http.StatusOK, &grants)
	return len(grants)
}

// The response was lost. A repetition with the same key gets it byte for byte, and
// nothing is created twice.
func TestIdempotentCallIsReplayed(t *testing.T) {
	b := newFixture(t, true)
	for path, body := range map[string]string{
		listsPath:                 `{"name":"Partners"}`,
		defaultPath:               `{"userId":"u","sku":"s"}`,
		"/api/proxy/rules":        `{"path":"/x","allow":"any"}`,
		"/management/keys/rotate": ``,
	} {
		t.Run(path, func(t *testing.T) {
			first := b.send("acme", http.MethodPost, path, body, withKey(`"4fbd"`))
			first.t = t
			first.want(http.StatusCreated, nil)
			b.clock = b.clock.Add(time.Minute)
			again := b.send("acme", http.MethodPost, path, body, withKey("4fbd")) // unquoted, it is the same key
			if again.code != first.code || again.body != first.body || again.head.Get("Location") != first.head.Get("Location") || again.head.Get("ETag") != first.head.Get("ETag") || again.head.Get("Content-Type") != first.head.Get("Content-Type") {
				t.Errorf("first %d %v %s, again %d %v %s", first.code, first.head, first.body, again.code, again.head, again.body)
			}
			if first.head.Get("Idempotency-Replayed") != "" || again.head.Get("Idempotency-Replayed") != "true" {
				t.Error("the answers do not say which is the first")
			}
			other := b.send("acme", http.MethodPost, path, strings.Replace(body, `"`, ` "`, 1)+" ", withKey("4fbd"))
			other.t = t
			other.refused(http.StatusUnprocessableEntity, "idempotency_key_reused", "")
			b.clock = b.clock.Add(24 * time.Hour) // the next case reuses the key
		})
	}
	if n := b.grants(); n != 1 {
		t.Errorf("%d grants were made", n)
	}
}

// The key expires after a day; keys of different callers are different; a failed
// call may be corrected and repeated with the same key.
func TestIdempotencyKeyScope(t *testing.T) {
	b := newFixture(t, false)
	body := `{"userId":"u","sku":"s"}`
	post := func(vendor, path, body string) answer {
		return b.send(vendor, http.MethodPost, path, body, withKey("k"))
	}
	post("acme", defaultPath, `{"userId":"u"}`).refused(http.StatusUnprocessableEntity, "validation_failed", "")
	post("acme", defaultPath, body).want(http.StatusCreated, nil)
	post("acme", listsPath, `{"name":"x"}`).refused(http.StatusUnprocessableEntity, "idempotency_key_reused", "")
	post("other", listsPath, `{"name":"x"}`).want(http.StatusCreated, nil)
	b.clock = b.clock.Add(24*time.Hour - time.Second)
	post("acme", defaultPath, body).want(http.StatusCreated, nil)
	if n := b.grants(); n != 1 {
		t.Fatalf("%d grants were made within a day", n)
	}
	b.clock = b.clock.Add(time.Second)
	post("acme", defaultPath, body).want(http.StatusCreated, nil)
	if n := b.grants(); n != 2 {
		t.Errorf("%d grants were made after a day", n)
	}
}

func TestInvalidIdempotencyKeys(t *testing.T) {
	b := newFixture(t, false)
	for _, key := range []string{"", `""`, `"open`, `"a" "b"`, "a b", "a,b", "\x7f", "ü", strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`} {
		b.send("acme", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`, withKey(key)).refused(http.StatusUnprocessableEntity, "validation_failed", "header.Idempotency-Key")
	}
	two := withKey("a")
	two.Add("Idempotency-Key", "b")
	b.send("acme", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`, two).refused(http.StatusUnprocessableEntity, "validation_failed", "header.Idempotency-Key")
	b.send("acme", http.MethodPost, defaultPath, `{"userId":"`+strings.Repeat("u", 1<<20)+`","sku":"s"}`, withKey("k")).refused(http.StatusRequestEntityTooLarge, "too_large", "")
	if n := b.grants(); n != 0 {
		t.Errorf("%d grants were made", n)
	}
}

// A client sends the same call twenty times at once. It is executed once;
// repetitions that get "in progress" get the response when they try again.
func TestConcurrentCallsWithOneKey(t *testing.T) {
	b := newFixture(t, false)
	var group sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		group.Go(func() {
			answers[i] = b.send("acme", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`, withKey("k"))
		})
	}
	group.Wait()
	made := b.send("acme", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`, withKey("k")).want(http.StatusCreated, nil)
	for _, got := range answers {
		switch got.code {
		case http.StatusCreated:
			if got.body != made.body {
				t.Errorf("made %s and %s", made.body, got.body)
			}
		case http.StatusConflict:
			got.refused(http.StatusConflict, "idempotency_in_progress", "")
		default:
			t.Errorf("status %d: %s", got.code, got.body)
		}
	}
	if n := b.grants(); n != 1 {
		t.Errorf("%d grants were made", n)
	}
}

// The same call reaches two nodes with one store at once. The store lets one of
// them execute it.
func TestSameKeyOnTwoNodes(t *testing.T) {
	b := newFixture(t, false)
	nodes := [2]*fixture{b, {T: t, clock: b.clock}}
	var err error
	if nodes[1].handler, err = admin.New(b.options); err != nil {
		t.Fatal(err)
	}
	for round := range 25 {
		body := fmt.Sprintf(`{"userId":"u%d","sku":"s"}`, round)
		var group sync.WaitGroup
		answers := make([]answer, 2)
		for i, node := range nodes {
			group.Go(func() {
				answers[i] = node.send("acme", http.MethodPost, defaultPath, body, withKey(fmt.Sprint("k", round)))
			})
		}
		group.Wait()
		made := 0
		for _, got := range answers {
			switch got.code {
			case http.StatusCreated:
				made++
			case http.StatusConflict:
				got.refused(http.StatusConflict, "idempotency_in_progress", "")
			default:
				t.Fatalf("status %d: %s", got.code, got.body)
			}
		}
		if made == 0 || made == 2 && answers[0].body != answers[1].body {
			t.Fatalf("answered %s and %s", answers[0].body, answers[1].body)
		}
	}
	if n := b.grants(); n != 25 {
		t.Errorf("%d grants were made of 25 calls", n)
	}
}

// The process ends after the write: the response was neither sent nor stored. A
// repetition gets it, built from the grant.
func TestCrashBetweenWriteAndResponse(t *testing.T) {
	for name, cut := range map[string]func(*tripEngine){
		"after the write": func(e *tripEngine) {
			e.after = func(*engine.Batch) error { return errors.New("the power is gone") }
		},
		"before the answer is kept": func(e *tripEngine) {
			writes := 0
			e.before = func(*engine.Batch) error {
				if writes++; writes > 1 {
					return errors.New("the power is gone")
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t, false)
			cut(b.trip)
			b.send("acme", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`, withKey("k"))
			b.trip.before, b.trip.after = nil, nil
			var again struct{ ID, UserID string }
			got := b.send("acme", http.MethodPost, defaultPath, `{"userId":"u","sku":"s"}`, withKey("k")).want(http.StatusCreated, &again)
			if again.UserID != "u" || got.head.Get("Location") != "grants/"+again.ID || got.head.Get("Idempotency-Replayed") != "true" {
				t.Errorf("answered %v %s", got.head, got.body)
			}
			if n := b.grants(); n != 1 {
				t.Errorf("%d grants were made", n)
			}
		})
	}
	// Without a way to build the response, the refusal names the record.
	b := newFixture(t, false)
	b.trip.after = func(*engine.Batch) error { return errors.New("the power is gone") }
	b.send("acme", http.MethodPost, "/api/proxy/rules", `{"path":"/x","allow":"any"}`, withKey("k"))
	b.trip.after = nil
	lost := b.send("acme", http.MethodPost, "/api/proxy/rules", `{"path":"/x","allow":"any"}`, withKey("k")).refused(http.StatusConflict, "idempotency_answer_lost", "")
	if !strings.Contains(lost.Detail, "acme/") {
		t.Errorf("the refusal says %q", lost.Detail)
	}
}

// A client's secret is shown once. A repetition creates no second client, shows no
// secret, and names the client.
func TestSecretIsShownOnce(t *testing.T) {
	b := newFixture(t, true)
	var made struct{ ClientID, ClientSecret string }
	body := `{"name":"Back office","scopes":["grants:read"]}`
	first := b.send("acme", http.MethodPost, "/management/clients", body, withKey("k")).want(http.StatusCreated, nil)
	fields := first.fields()
	for name, value := range fields {
		text, _ := value.(string)
		switch {
		case strings.HasSuffix(strings.ToLower(name), "secret"):
			made.ClientSecret = text
		case strings.HasSuffix(strings.ToLower(name), "id"):
			made.ClientID = text
		}
	}
	lost := b.send("acme", http.MethodPost, "/management/clients", body, withKey("k"))
	p := lost.refused(http.StatusConflict, "idempotency_answer_lost", "")
	if made.ClientSecret == "" || strings.Contains(lost.body, made.ClientSecret) || made.ClientID == "" || !strings.Contains(p.Detail, made.ClientID) {
		t.Errorf("first %s, again %s", first.body, lost.body)
	}
	var clients []any
	b.call(http.MethodGet, "/management/clients", "").want(http.StatusOK, &clients)
	if len(clients) != 1 {
		t.Errorf("%d clients were made", len(clients))
	}
}

// A link's token is a secret and never stored. A repetition signs the same link
// again.
func TestTokensAreNotStored(t *testing.T) {
	b := newFixture(t, true)
	var first, again struct{ Token, TokenID, SignedURL, ExpiresAt string }
	body := `{"url":"https://news.example/a","maxUses":1}`
	b.send("acme", http.MethodPost, "/management/create-signed-link", body, withKey("k")).want(http.StatusOK, &first)
	b.clock = b.clock.Add(time.Minute)
	b.send("acme", http.MethodPost, "/management/create-signed-link", body, withKey("k")).want(http.StatusOK, &again)
	if again.TokenID != first.TokenID || again.ExpiresAt != first.ExpiresAt || again.Token == "" || !strings.Contains(again.SignedURL, again.Token) {
		t.Errorf("first %+v, again %+v", first, again)
	}
	b.send("acme", http.MethodPost, "/management/create-signed-link", `{"sku":"s"}`, withKey("k")).refused(http.StatusUnprocessableEntity, "idempotency_key_reused", "")
	var links []any
	b.call(http.MethodGet, "/management/signed-links", "").want(http.StatusOK, &links)
	if len(links) != 1 {
		t.Errorf("%d links were made", len(links))
	}
	var reader struct{ Token string }
	b.send("acme", http.MethodPost, "/management/reader-tokens", `{"userId":"u"}`, withKey("r")).want(http.StatusOK, &reader)
	b.send("acme", http.MethodPost, "/management/reader-tokens", `{"userId":"u"}`, withKey("r")).want(http.StatusOK, &reader)
	b.send("acme", http.MethodPost, "/management/reader-tokens", `{"userId":"v"}`, withKey("r")).refused(http.StatusUnprocessableEntity, "idempotency_key_reused", "")
	b.closeStore()
	files, err := filepath.Glob(filepath.Join(b.dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{first.Token, again.Token, reader.Token} {
			if signature := token[strings.LastIndex(token, "."):]; bytes.Contains(content, []byte(signature)) {
				t.Errorf("%s holds a token's signature", filepath.Base(file))
			}
		}
	}
}
