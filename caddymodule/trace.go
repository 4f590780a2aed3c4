package caddymodule

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// traceDecision adds the decision to the span of Caddy's tracing directive. It adds
// nothing about the reader: traces are more widely readable than logs.
func traceDecision(ctx context.Context, outcome *outcome) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("gatefold.decision", outcome.verdict()),
		attribute.String("gatefold.reason", outcome.reason.String()),
	)
	if outcome.rule != nil {
		span.SetAttributes(attribute.String("gatefold.rule", outcome.rule.Path))
	}
	if outcome.link != "" {
		span.SetAttributes(attribute.String("gatefold.link", outcome.link))
	}
}
