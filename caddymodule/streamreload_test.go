package caddymodule

import (
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// A streamClient opens event streams by one version of HTTP.
type streamClient struct {
	major     int
	transport http.RoundTripper
}

// streamClients are clients of HTTP/1.1, 2 and 3.
func streamClients(t *testing.T) map[string]streamClient {
	insecure := &tls.Config{InsecureSkipVerify: true}
	h1 := &http.Transport{TLSClientConfig: insecure.Clone(), Protocols: new(http.Protocols)}
	h1.Protocols.SetHTTP1(true)
	h2 := &http.Transport{TLSClientConfig: insecure.Clone(), Protocols: new(http.Protocols)}
	h2.Protocols.SetHTTP2(true)
	h3 := &http3.Transport{TLSClientConfig: insecure.Clone()}
	t.Cleanup(func() {
		h1.CloseIdleConnections()
		h2.CloseIdleConnections()
		_ = h3.Close()
	})
	return map[string]streamClient{"HTTP/1.1": {1, h1}, "HTTP/2": {2, h2}, "HTTP/3": {3, h3}}
}

// open opens an event stream. The channel is closed when it ends.
func (c streamClient) open(t *testing.T, address string, headers ...string) chan struct{} {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.ProtoMajor != c.major {
		t.Fatalf("%s %s", response.Proto, response.Status)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		close(ended)
	}()
	return ended
}

// A reader, and an anonymous visitor, hold event streams open over each version of HTTP
// while the operator reloads: what the new configuration does not allow is cut within a
// second, what it allows goes on. By the documentation of a store alone, each went on for
// as long as the client liked, judged by the configuration from before.
func TestStreamsAreJudgedByTheActiveConfiguration(t *testing.T) {
	const public, premium = "/events", "/articles/events"
	s := newStreamSite(t)
	port := keystest.FreePort(t)
	config := func(rules string) string {
		return s.config("", standardRules, "") + "\nhttps://localhost:" + port + " {\ntls " + s.certificate() + "\ngatefold {\n" + rules +
			"\n}\nreverse_proxy " + strings.TrimPrefix(s.origin.URL, "http://") + "\n}\n"
	}
	const noSites = "{\nadmin off\nlog {\noutput test\n}\n}\n"
	const otherIssuer = "identify jwt {\nissuer self\ncookie other\n}\nrule /articles/{publisherContentId} entitled premium\nrule / any"
	for name, test := range map[string]struct {
		next func(config string) string // nil: a grant is removed, without a reload
		cut  map[string]string          // the reasons, by path
	}{
		"the same configuration": {func(text string) string { return strings.Replace(text, "log\n", "log\n\theader X-Reloaded yes\n", 1) }, nil},
		"stricter rules": {func(text string) string {
			return strings.ReplaceAll(strings.ReplaceAll(text, "rule / any", "rule / authenticated"), "entitled premium", "entitled gold")
		}, map[string]string{public: "login_required", premium: "not_entitled"}},
		"without the site": {
			func(text string) string {
				return strings.ReplaceAll(text, "\ngatefold {\n", "\ngatefold {\nsite other\n")
			},
			map[string]string{public: "site_removed", premium: "site_removed"},
		},
		"without the host": {
			func(text string) string { return strings.ReplaceAll(text, "https://localhost:", "https://127.0.0.1:") },
			map[string]string{public: "site_removed", premium: "site_removed"},
		},
		"without any gate": {
			func(string) string { return noSites },
			map[string]string{public: "site_removed", premium: "site_removed"},
		},
		"another store": {
			func(text string) string {
				return strings.ReplaceAll(text, s.database(), filepath.Join(s.dir, "other.db"))
			},
			map[string]string{premium: "bad_credential"},
		},
		"another place of the token": {func(string) string { return config(otherIssuer) }, map[string]string{premium: "login_required"}},
		"a grant is removed":         {nil, map[string]string{premium: "not_entitled"}},
	} {
		for version, client := range streamClients(t) {
			t.Run(name+", "+version, func(t *testing.T) {
				first := config(standardRules)
				s.load(first)
				s.waitFor("the streams from before are gone", func() bool { return openStreams.count() == 0 })
				token := s.reader(keys.ReaderClaims{UserID: t.Name()})
				grant := s.grant(store.Grant{UserID: t.Name(), SKU: "premium"})
				open := map[string]chan struct{}{
					public:  client.open(t, "https://localhost:"+port+public),
					premium: client.open(t, "https://localhost:"+port+premium, "Cookie", "reader="+token),
				}
				s.waitFor("both are watched", func() bool { return openStreams.count() == 2 })
				logged.Reset()

				began := time.Now()
				if test.next == nil {
					if err := s.running().Store.As(store.Actor{}).DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil); err != nil {
						t.Fatal(err)
					}
				} else {
					s.load(test.next(first))
				}
				for path := range test.cut {
					select {
					case <-open[path]:
						t.Logf("%s is cut after %v", path, time.Since(began))
					case <-time.After(20 * time.Second):
						t.Fatalf("%s goes on", path)
					}
				}
				if name == "another store" { // streams that go on do not hold the former one
					s.waitFor("the former database is free", func() bool {
						former, err := boltengine.Open(s.database())
						return err == nil && former.Close() == nil
					})
					if took := time.Since(began); took > defaultStreamGrace {
						t.Errorf("the former database is free after %v", took)
					}
				}
				if len(test.cut) < len(open) { // the others are judged again, and go on
					<-time.After(judgeStreams + 3*watchStreams)
				}
				for path, ended := range open {
					select {
					case <-ended:
						if test.cut[path] == "" {
							t.Errorf("%s was cut, and is allowed", path)
						}
					default:
					}
				}
				reasons := map[string]string{}
				for _, line := range logged.entries(t, "http.handlers.gatefold") {
					if line["msg"] == "cut" {
						reasons[line["path"].(string)] = line["reason"].(string)
					}
				}
				for path := range open {
					if reasons[path] != test.cut[path] {
						t.Errorf("%s is cut for %q, want %q", path, reasons[path], test.cut[path])
					}
				}
				s.load(noSites) // ends them all
				for _, ended := range open {
					<-ended
				}
			})
		}
	}
}
