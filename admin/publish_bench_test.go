package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// manyRules returns a body with n rules.
func manyRules(tb testing.TB, n int) []byte {
	tb.Helper()
	rules := make([]map[string]any, n)
	for i := range rules {
		rules[i] = map[string]any{
			"path":  fmt.Sprintf("/section-%d/{publisherContentId}", i),
			"allow": `entitled/{"sku":["premium","{publisherContentId}"]}`,
		}
	}
	text, err := json.Marshal(rules)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// BenchmarkPublishRules replaces 10,000 rules through the API, including reading
// the body and writing the response.
func BenchmarkPublishRules(b *testing.B) {
	backend, err := boltengine.Open(filepath.Join(b.TempDir(), "gatefold.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer backend.Close()
	versions := new(policy.Versions)
	records := store.New(backend, versions, time.Now)
	sealer, err := keys.NewSealer([]byte("a secret for this benchmark"))
	if err != nil {
		b.Fatal(err)
	}
	decisions, err := policy.New(policy.Options{
		Records: records, Versions: versions, Operators: policy.StandardOperators(), CacheBytes: policy.MinCacheBytes, Now: time.Now,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer decisions.Close()
	handler, err := admin.New(admin.Options{
		Store: records, Keyring: store.NewKeyring(records, sealer), Policy: decisions, Now: time.Now, Authorize: authorizeTest,
	})
	if err != nil {
		b.Fatal(err)
	}
	const rules = 10_000
	// same stores the rules unchanged; other changes all rules each time.
	bodies := [2][]byte{manyRules(b, rules), bytes.ReplaceAll(manyRules(b, rules), []byte("premium"), []byte("basic"))}
	run := func(name string, bodies ...[]byte) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				request := httptest.NewRequestWithContext(b.Context(), http.MethodPut, "/api/proxy/rules", bytes.NewReader(bodies[i%len(bodies)]))
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("X-Test-Vendor", "acme")
				answer := httptest.NewRecorder()
				if handler.ServeHTTP(answer, request); answer.Code != http.StatusOK {
					b.Fatal(answer.Body)
				}
			}
		})
	}
	run("same", bodies[0])
	run("other", bodies[:]...)
}
