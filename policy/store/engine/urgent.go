package engine

import "context"

type urgent struct{}

// Urgent returns a context for reads that a reader waits for to use a link: an engine that
// other processes share answers them soon, or returns an error that matches ErrUnavailable.
func Urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgent{}, true) }

// IsUrgent reports whether a context is one of Urgent.
func IsUrgent(ctx context.Context) bool { return ctx.Value(urgent{}) != nil }
