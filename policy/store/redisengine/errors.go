package redisengine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// The errors of the server. Their texts state the remedy.
var (
	// ErrUnreachable: the server does not answer.
	ErrUnreachable = problem("the Redis server does not answer")
	// ErrRefused: a server that must not be used, a wrong password, a failed TLS handshake, or missing permissions.
	ErrRefused = problem("the Redis server refuses access")
	// ErrTooOld: the version of the server lacks required commands.
	ErrTooOld = problem("the Redis server is too old")
	// ErrFull: the server has no memory left. Nothing was written.
	ErrFull = problem("the Redis server has no memory left: raise its maxmemory; nothing was written")
	// ErrReadOnly: the server is a replica. Nothing was written.
	ErrReadOnly = problem("the Redis server is a read-only replica: give the address of the master, or use redis+sentinel:// or redis+cluster://; nothing was written")
	// ErrEviction: the server may evict counters.
	ErrEviction = problem("the Redis server may evict counters when its memory is full, so uses of links cannot be counted")
	// ErrNotAcknowledged: too few replicas have the write. A failover may lose it.
	ErrNotAcknowledged = problem("the write was not acknowledged by enough replicas, and may be lost in a failover")
	// ErrBusy: the server does not accept writes at the moment. Nothing was written.
	ErrBusy = problem("the Redis server does not accept writes at the moment; nothing was written")
)

// problem is an error of the server. It matches engine.ErrUnavailable, as the call may
// succeed later.
type problem string

func (p problem) Error() string { return string(p) }

// Is implements the interface of errors.Is.
func (p problem) Is(target error) bool {
	return target == engine.ErrUnavailable || target == p || target == engine.ErrNotAcknowledged && p == ErrNotAcknowledged ||
		target == engine.ErrFull && p == ErrFull
}

// explain returns the error with its remedy for an error of the client.
func explain(err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, ErrNotAcknowledged), errors.Is(err, ErrTooOld), errors.Is(err, ErrRefused), errors.Is(err, engine.ErrWentBack):
		return err
	case redis.IsOOMError(err), strings.Contains(text, "OOM command not allowed"):
		return ErrFull
	case isReadOnly(err):
		return ErrReadOnly
	case redis.IsAuthError(err), strings.Contains(text, "ERR AUTH"), strings.Contains(text, "invalid password"):
		return fmt.Errorf("%w: user or password is wrong or missing (%s)", ErrRefused, firstWords(text))
	case redis.IsPermissionError(err):
		return fmt.Errorf("%w: the user lacks a permission (%s); docs/redis.md lists those that are needed", ErrRefused, firstWords(text))
	case isTLS(err):
		return fmt.Errorf("%w: TLS failed: %w", ErrRefused, err)
	case isBusy(err):
		return fmt.Errorf("%w (%s)", ErrBusy, firstWords(text))
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it closed the connection; does it expect TLS (rediss://)?", ErrUnreachable)
	case isTimeout(err):
		return &unanswered{text}
	case isNetwork(err):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("the Redis server failed: %w", err)
}

func isReadOnly(err error) bool {
	return redis.IsReadOnlyError(err) || strings.Contains(err.Error(), "READONLY ")
}

// isBusy reports whether the server refused a command before executing it.
func isBusy(err error) bool {
	if isMoved(err) || isAsk(err) || redis.IsLoadingError(err) || redis.IsClusterDownError(err) || redis.IsTryAgainError(err) || redis.IsMasterDownError(err) ||
		redis.IsMaxClientsError(err) || redis.IsNoReplicasError(err) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "MISCONF ") || strings.HasPrefix(text, "BUSY ") || strings.Contains(text, "NOREPLICAS ")
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var alert tls.AlertError
	return errors.As(err, &record) || errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:")
}

// unanswered is the error of a command that got no answer in time, and may have been
// executed. It matches ErrUnreachable, and is a net.Error.
type unanswered struct{ cause string }

func (u *unanswered) Error() string { return ErrUnreachable.Error() + ": " + u.cause }

// Is implements the interface of errors.Is.
func (u *unanswered) Is(target error) bool { return ErrUnreachable.Is(target) }

// Timeout implements net.Error.
func (u *unanswered) Timeout() bool { return true }

// Temporary implements net.Error.
func (u *unanswered) Temporary() bool { return true }

func isTimeout(err error) bool {
	late, ok := errors.AsType[net.Error](err)
	return ok && late.Timeout()
}

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, redis.ErrClosed) ||
		strings.Contains(err.Error(), "all sentinels specified in configuration are unreachable") ||
		strings.Contains(err.Error(), "cluster has no nodes")
}

// mayTryAgain reports whether a failed write may be sent again: the connection broke, or
// the server refused the command.
func mayTryAgain(err error) bool {
	return !isTLS(err) && (isNetwork(err) || errors.Is(err, io.EOF) || isBusy(err) || isReadOnly(err))
}

// firstWords shortens an error of the server.
func firstWords(text string) string {
	const most = 160
	text, _, _ = strings.Cut(text, "\n")
	return text[:min(len(text), most)]
}
