package caddymodule

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/gatefold/gatefold/policy"
)

// A trace has the decision, its rule and its link, but not the reader.
func TestTraceHasTheDecision(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	ctx, span := provider.Tracer("test").Start(t.Context(), "request")
	outcome := &outcome{user: "user-1", reason: policy.ReasonLinkUsedUp, rule: &policy.Rule{Path: "/articles/{id}"}, link: "link_1"}
	traceDecision(ctx, outcome)
	span.End()
	traceDecision(t.Context(), outcome) // without a span: nothing

	var got []string
	for _, a := range spans.GetSpans()[0].Attributes {
		if a.Value.Type() == attribute.STRING {
			got = append(got, string(a.Key)+"="+a.Value.AsString())
		}
	}
	want := "gatefold.decision=deny gatefold.reason=link_used_up gatefold.rule=/articles/{id} gatefold.link=link_1"
	if strings.Join(got, " ") != want {
		t.Errorf("the span has %q, want %q", got, want)
	}
}
