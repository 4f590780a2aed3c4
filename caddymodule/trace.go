package caddymodule

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// traceDecision adds the decision to Caddy's current span, where the site has
// the tracing directive. Who the reader is stays out: traces go to more hands
// than logs do.
func traceDecision(ctx context.Context, told *outcome) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("gatefold.decision", told.verdict()),
		attribute.String("gatefold.reason", told.decision.Reason.String()),
	)
	if told.decision.Rule != nil {
		span.SetAttributes(attribute.String("gatefold.rule", told.decision.Rule.Path))
	}
	if told.decision.Link.ID != "" {
		span.SetAttributes(attribute.String("gatefold.link", told.decision.Link.ID))
	}
}
