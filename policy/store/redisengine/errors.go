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

// What can be wrong with the server. Every error of an Engine that comes from it is
// one of these, and its text says what to do.
var (
	// ErrUnreachable says that the server does not answer.
	ErrUnreachable = problem("the Redis server does not answer")
	// ErrRefused says that the server does not let us in: a wrong password, TLS that
	// does not fit, a user who may not do what is needed.
	ErrRefused = problem("the Redis server does not let us in")
	// ErrTooOld says that the server's version lacks what is needed.
	ErrTooOld = problem("the Redis server is too old")
	// ErrFull says that the server has no memory left. Nothing was written.
	ErrFull = problem("the Redis server has no memory left: raise its maxmemory; nothing was written")
	// ErrReadOnly says that the server is a replica. Nothing was written.
	ErrReadOnly = problem("the Redis server is a read-only replica: give the address of the master, or use redis+sentinel:// or redis+cluster://; nothing was written")
	// ErrEviction says that the server may drop counters to make room.
	ErrEviction = problem("the Redis server may drop counters when its memory is full, so uses of links cannot be counted")
	// ErrNotAcknowledged says that too few replicas have a write. It may or may not
	// be there after a failover.
	ErrNotAcknowledged = problem("the write was not acknowledged by enough replicas, and may be lost in a failover")
	// ErrBusy says that the server does not take the write at the moment. Nothing
	// was written.
	ErrBusy = problem("the Redis server does not take writes at the moment; nothing was written")
)

// problem is something that is wrong with the server. It is engine.ErrUnavailable:
// whoever asks may try again later.
type problem string

func (p problem) Error() string { return string(p) }

// Is says what the error is, for errors.Is.
func (p problem) Is(target error) bool { return target == engine.ErrUnavailable || target == p }

// explain says what an error of the client means, and what to do.
func explain(err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, ErrNotAcknowledged), errors.Is(err, ErrTooOld), errors.Is(err, ErrRefused):
		return err
	case redis.IsOOMError(err), strings.Contains(text, "OOM command not allowed"):
		return ErrFull
	case isReadOnly(err):
		return ErrReadOnly
	case redis.IsAuthError(err), strings.Contains(text, "ERR AUTH"), strings.Contains(text, "invalid password"):
		return fmt.Errorf("%w: user or password is wrong or missing (%s)", ErrRefused, firstWords(text))
	case redis.IsPermissionError(err):
		return fmt.Errorf("%w: the user may not do what is needed (%s); docs/redis.md lists it", ErrRefused, firstWords(text))
	case isTLS(err):
		return fmt.Errorf("%w: TLS failed: %w", ErrRefused, err)
	case isBusy(err):
		return fmt.Errorf("%w (%s)", ErrBusy, firstWords(text))
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it closed the connection; does it expect TLS (rediss://)?", ErrUnreachable)
	case isNetwork(err):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("the Redis server failed: %w", err)
}

func isReadOnly(err error) bool {
	return redis.IsReadOnlyError(err) || strings.Contains(err.Error(), "READONLY ")
}

// isBusy says whether the server refused a command before it began.
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

func isNetwork(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) || errors.Is(err, redis.ErrClosed) ||
		strings.Contains(err.Error(), "all sentinels specified in configuration are unreachable") ||
		strings.Contains(err.Error(), "cluster has no nodes")
}

// mayTryAgain says whether a write that failed may be sent again: the connection
// broke, or the server refused to begin.
func mayTryAgain(err error) bool {
	return !isTLS(err) && (isNetwork(err) || errors.Is(err, io.EOF) || isBusy(err) || isReadOnly(err))
}

// firstWords shortens what a server said, for messages.
func firstWords(text string) string {
	const most = 160
	text, _, _ = strings.Cut(text, "\n")
	return text[:min(len(text), most)]
}
