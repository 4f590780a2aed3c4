package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/gatefold/gatefold/policy/store"
)

// Bounds of one attempt.
const (
	// attemptTimeout bounds an attempt, its connection and its answer included.
	attemptTimeout = 15 * time.Second
	// maxAnswerBytes is how much is read of an answer, whose content is not used.
	maxAnswerBytes = 4 << 10
	// maxAnswerHeader bounds the header of an answer.
	maxAnswerHeader = 16 << 10
)

// Settings are what a configuration says of deliveries.
type Settings struct {
	// Webhooks has the endpoints and their secrets.
	Webhooks *store.Webhooks
	// Allowed returns an error for a URL to which nothing may be sent.
	Allowed func(*url.URL) error
	// Control is the net.Dialer.Control of all connections. It checks the resolved
	// address.
	Control func(network, address string, c syscall.RawConn) error
	// TLS is the configuration of TLS connections. Optional.
	TLS *tls.Config
}

// sender sends events by the settings of one configuration.
type sender struct {
	Settings
	client *http.Client
}

func newSender(settings Settings) *sender {
	dialer := &net.Dialer{Timeout: attemptTimeout / 3, Control: settings.Control}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: settings.TLS, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: attemptTimeout / 3, MaxResponseHeaderBytes: maxAnswerHeader, DisableCompression: true,
		MaxIdleConns: 64, MaxIdleConnsPerHost: roundSize, IdleConnTimeout: 30 * time.Second,
	}
	return &sender{settings, &http.Client{
		Transport: transport, Timeout: attemptTimeout,
		// The address of a redirection was not checked, and is not the one that the
		// vendor entered.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// result is the result of an attempt.
type result struct {
	status     int // of the answer; zero for none
	problem    string
	retryAfter time.Duration
}

func (r *result) ok() bool   { return r.problem == "" }
func (r *result) gone() bool { return r.status == http.StatusGone }

// send attempts to deliver an event.
func (s *sender) send(ctx context.Context, vendor string, hook *store.Webhook, d *store.Delivery, at time.Time) result {
	request, err := s.request(ctx, vendor, hook, d, at)
	if err != nil {
		return result{problem: err.Error()}
	}
	response, err := s.client.Do(request)
	if err != nil {
		return result{problem: problemOf(err)}
	}
	defer response.Body.Close()
	// So that the connection can be used again. A longer answer closes it.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswerBytes)
	done := result{status: response.StatusCode}
	if done.status < 200 || done.status > 299 {
		done.problem = fmt.Sprintf("it answered with the status %d", done.status)
		if done.status >= 300 && done.status < 400 {
			done.problem += "; redirections are not followed: change the webhook's url"
		}
		if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 31); err == nil {
			done.retryAfter = time.Duration(seconds) * time.Second //nolint:gosec // G115: 31 bits
		}
	}
	return done
}

func (s *sender) request(ctx context.Context, vendor string, hook *store.Webhook, d *store.Delivery, at time.Time) (*http.Request, error) {
	address, err := url.Parse(hook.URL)
	if err != nil {
		return nil, errors.New("its url is invalid")
	}
	if err := s.Allowed(address); err != nil {
		return nil, err
	}
	secrets, err := s.Webhooks.Secrets(vendor, hook)
	if err != nil {
		return nil, err
	}
	signature, err := Sign(secrets, d.ID, at, d.Body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, hook.URL, bytes.NewReader(d.Body))
	if err != nil {
		return nil, errors.New("its url is invalid")
	}
	request.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"Gatefold"},
		http.CanonicalHeaderKey(HeaderID):        {d.ID},
		http.CanonicalHeaderKey(HeaderTimestamp): {strconv.FormatInt(at.Unix(), 10)},
		http.CanonicalHeaderKey(HeaderSignature): {signature},
	}
	return request, nil
}

// problemOf returns why there was no answer, without addresses: these may say how a name
// resolves in this network.
func problemOf(err error) string {
	timeout, isTimeout := errors.AsType[net.Error](err)
	refused, isRefused := errors.AsType[*AddressError](err)
	switch {
	case isRefused:
		return refused.Error()
	case isTimeout && timeout.Timeout():
		return fmt.Sprintf("there was no answer within %v", attemptTimeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "its host name does not resolve"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted"
	}
	return "the connection broke, or the answer is not HTTP"
}

// AddressError is the error of a connection that Settings.Control refuses.
type AddressError struct{ Problem string }

func (e *AddressError) Error() string { return e.Problem }
