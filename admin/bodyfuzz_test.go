package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// fuzzedCalls are operations that take a body, each with bodies that it accepts or
// nearly accepts. %s is fuzzed too.
var fuzzedCalls = []struct {
	method, path string
	bodies       []string
}{
	{"POST", "/management/create-signed-link", []string{`{"sku":"premium","maxUses":2,"expiresIn":"7d"}`, `{"url":"https://a.example/x?y=1","meta":{"a":1}}`, `{"expiresIn":1e99,"sku":"x"}`}},
	{"POST", "/management/signed-links/batch", []string{`{"url":"https://a.example/","recipients":[{"userId":"ann"}]}`}},
	{"POST", "/management/access-lists/src_default/grants", []string{`{"userId":"ann","sku":"premium","startsAt":"2027-01-01T00:00:00Z","endsAt":null}`, `{"email":"a@example.org","sku":"x","extraFields":{"a":"b"}}`}},
	{"POST", "/management/access-lists/src_default/grants/batch", []string{`{"importId":"x","position":0,"grants":[{"userId":"u","sku":"s"}]}`}},
	{"POST", "/management/access-lists/src_default/grants/import", []string{`{"userId":"bob","sku":"premium"}` + "\n{", "[]"}},
	{"PATCH", "/management/access-lists/src_default", []string{`{"name":"Staff"}`}},
	{"POST", "/management/access-lists", []string{`{"name":"Partners","status":"ACTIVE"}`}},
	{"POST", "/management/products", []string{`{"type":"bundle","sku":"box","members":["a","box"]}`, `{"type":"article","externalIds":{"a":"b"}}`}},
	{"PATCH", "/management/products/%s", []string{`{"members":["a"]}`, `{"title":null}`}},
	{"PUT", "/management/domains/%s", []string{`{"signingKeyPem":"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0B8acoitoEYyIt85mEBOARtYR1VM\nduIBWqonYoMMxsEY688kUqbjiMG553leOUdoS71jYQBEkTrvHCSzTnOhVg==\n-----END PUBLIC KEY-----\n","allowedResourceIds":["prefix:a*"]}`}},
	{"POST", "/management/denied-keys", []string{`{"kid":"x","note":"y"}`}},
	{"PUT", "/api/proxy/rules", []string{`[{"path":"/articles/{id}","methods":["GET"],"allow":"entitled/{\"sku\":[\"premium\",\"{id}\"]}","then":["authenticated"]}]`, `[{"path":"/","allow":0}]`, `[{"path":"/\\*","allow":"any","options":{}}]`}},
	{"POST", "/api/proxy/rules", []string{`{"path":"/a","allow":"any","rank":0}`}},
	{"PATCH", "/api/proxy/rules", []string{`{"updates":[{"oldpos":0,"newpos":1}]}`}},
	{"PUT", "/api/proxy/rules/%s", []string{`{"allow":"any"}`}},
	{"PUT", "/api/proxy", []string{`{"entry_point":"https://origin.example"}`}},
	{"POST", "/management/reader-tokens", []string{`{"userId":"ann","email":"a@example.org","emailVerified":true,"expiresIn":60}`}},
	{"POST", "/management/clients", []string{`{"name":"x","scopes":["links:*"]}`, `{"name":"x","scopes":["vendors:write"],"operator":true}`}},
}

// FuzzAPIBodies sends bodies to the API. None is answered with a status of 500 or more,
// and a call that is refused changes no record.
func FuzzAPIBodies(f *testing.F) {
	for i, call := range fuzzedCalls {
		for _, body := range call.bodies {
			f.Add(byte(i), "a.example", body)
		}
		f.Add(byte(i), "a\x00/b", `{"sku":"\u0000","userId":"\ud800","name":"`+strings.Repeat("x", 300)+`"}`)
		f.Add(byte(i), "..", `{}`)
		f.Add(byte(i), "", "\xff")
	}
	commits := 0
	api := fuzzedAPI(f, func() { commits++ })
	f.Fuzz(func(t *testing.T, number byte, id, body string) {
		call := fuzzedCalls[int(number)%len(fuzzedCalls)]
		path := call.path
		if strings.Contains(path, "%s") {
			path = fmt.Sprintf(path, url.PathEscape(id))
		}
		request, err := http.NewRequestWithContext(t.Context(), call.method, "http://localhost"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		request.Header.Set("X-Test-Vendor", "acme")
		request.Header.Set("Content-Type", "application/json")
		if strings.HasSuffix(path, "/import") {
			request.Header.Set("Content-Type", "application/x-ndjson")
		}
		before := commits
		recorder := httptest.NewRecorder()
		api.ServeHTTP(recorder, request)
		switch {
		case recorder.Code >= 500:
			t.Errorf("%s %s %q: %d %s", call.method, path, body, recorder.Code, recorder.Body)
		case recorder.Code >= 400:
			var problem problem
			if json.Unmarshal(recorder.Body.Bytes(), &problem) != nil || problem.Code == "" || problem.Status != recorder.Code {
				t.Errorf("%s %s %q: %d %s", call.method, path, body, recorder.Code, recorder.Body)
			}
			if commits != before {
				t.Errorf("%s %s %q: refused with %d, and changed a record", call.method, path, body, recorder.Code)
			}
		}
	})
}

// fuzzedAPI returns the API of the local operator over a database, in memory where the
// system has a directory there. Committed is called after every commit.
func fuzzedAPI(f *testing.F, committed func()) http.Handler {
	f.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gatefold-fuzz-")
	if err != nil {
		dir = f.TempDir()
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	backend, err := boltengine.Open(filepath.Join(dir, "gatefold.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = backend.Close() })
	sealer, err := keys.NewSealer([]byte("a secret for this test"))
	if err != nil {
		f.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	versions := new(policy.Versions)
	trip := &tripEngine{Engine: backend, after: func(*engine.Batch) error {
		committed()
		return nil
	}}
	records := store.New(trip, versions, now)
	decisions, err := policy.New(policy.Options{
		Records: records, Versions: versions, Operators: policy.StandardOperators(), CacheBytes: policy.MinCacheBytes, Now: now,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(decisions.Close)
	api, err := admin.New(admin.Options{
		Store: records, Keyring: store.NewKeyring(records, sealer), Policy: decisions, Now: now, Authorize: authorizeTest, Operator: true,
		Failed: func(err error) { f.Logf("the API failed: %v", err) },
	})
	if err != nil {
		f.Fatal(err)
	}
	// The first signature makes the key.
	first := httptest.NewRequest(http.MethodPost, "/management/create-signed-link", strings.NewReader(`{"sku":"x"}`))
	first.Header = http.Header{"X-Test-Vendor": {"acme"}, "Content-Type": {"application/json"}}
	recorder := httptest.NewRecorder()
	if api.ServeHTTP(recorder, first); recorder.Code != http.StatusOK {
		f.Fatalf("%d %s", recorder.Code, recorder.Body)
	}
	return api
}
