package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spanCollector takes spans as an OpenTelemetry collector does, over OTLP.
type spanCollector struct {
	*httptest.Server
	mu    sync.Mutex
	raw   strings.Builder
	spans []*trace.Span
}

func newSpanCollector(t *testing.T) *spanCollector {
	t.Helper()
	c := new(spanCollector)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request otlp.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &request) != nil {
			t.Errorf("the collector got %s, %v", r.URL.Path, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(body)
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// ours returns the gate's attributes of each span, in the order of arrival.
func (c *spanCollector) ours() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var spans []string
	for _, span := range c.spans {
		var told []string
		for _, a := range span.GetAttributes() {
			if strings.HasPrefix(a.GetKey(), "gatefold.") {
				told = append(told, a.GetKey()+"="+a.GetValue().GetStringValue())
			}
		}
		if len(told) > 0 {
			spans = append(spans, strings.Join(told, " "))
		}
	}
	return spans
}

// With Caddy's tracing directive, spans have the decision, the rule and the link of
// each request, but no token and no reader.
func TestTracesReachACollector(t *testing.T) {
	t.Parallel()
	c := newSpanCollector(t)
	s := newServer(t)
	s.variables = []string{
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_TRACES_EXPORTER=otlp",
		"OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_SERVICE_NAME=news", "OTEL_TRACES_SAMPLER=always_on",
	}
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.writeConfig(strings.Replace(string(config), "\tgatefold {\n\t\tidentify", "\ttracing {\n\t\tspan news\n\t}\n\tgatefold {\n\t\tidentify", 1))
	s.start()
	link := s.must("link", "create", s.site+"/articles/hello", "--max-uses", "1")
	id := strings.Fields(strings.Split(s.must("link", "list"), "\n")[1])[0]
	reader := s.must("token", "reader", "--user", "user-of-a-secret-name")
	s.get(link, "Referer", link).expect(t, http.StatusOK, "")
	s.get(link).expect(t, http.StatusForbidden, "link_used_up")
	s.get(s.site+"/account", "Authorization", "Bearer "+reader).expect(t, http.StatusOK, "")
	s.get(s.site+"/a%2Fb").expect(t, http.StatusBadRequest, "bad_path")

	const article = " gatefold.rule=/articles/{publisherContentId} gatefold.link="
	want := []string{
		"gatefold.decision=allow gatefold.reason=signed_link" + article + id,
		"gatefold.decision=deny gatefold.reason=link_used_up" + article + id,
		"gatefold.decision=allow gatefold.reason=authenticated gatefold.rule=/account",
		"gatefold.decision=deny gatefold.reason=bad_path",
	}
	s.waitFor("the collector has all spans", func() bool {
		got := "\n" + strings.Join(c.ours(), "\n") + "\n"
		for _, span := range want {
			if !strings.Contains(got, "\n"+span+"\n") {
				return false
			}
		}
		return true
	})
	s.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if found := tokenMaterial.FindString(c.raw.String()); found != "" || strings.Contains(c.raw.String(), "user-of-a-secret-name") {
		t.Errorf("traces hold %q, or the reader's id", found)
	}
}
