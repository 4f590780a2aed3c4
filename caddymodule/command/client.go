package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/admin"
)

// AdminPrefix is the path of the management API at Caddy's local admin endpoint.
const AdminPrefix = "/gatefold"

// LoadingHeader marks a response of the admin endpoint while its configuration is being
// made active: the request changed nothing and may be repeated.
const LoadingHeader = "Gatefold-Loading"

const (
	loadingWait  = 20 * time.Second // bounds how long a command waits for a configuration
	loadingEvery = 100 * time.Millisecond
)

// client is an HTTP client of Caddy's local admin endpoint.
type client struct {
	address string // a socket's path, or host and port
	host    string
	socket  bool
	http    *http.Client
}

// newClient returns a client for the admin address in the flags of a command.
func newClient(cmd *cobra.Command) (*client, error) {
	address, _ := cmd.Flags().GetString("address")
	config, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	address, err := caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter)
	if err != nil {
		return nil, err
	}
	return clientOf(address)
}

// clientOf returns a client for an admin address as a configuration has it.
func clientOf(address string) (*client, error) {
	listen, err := caddy.ParseNetworkAddress(address)
	if err != nil || listen.PortRangeSize() > 1 || listen.IsFdNetwork() {
		return nil, fmt.Errorf("the admin address %q is not one that a command can call: write host:port or unix//run/gatefold/admin.sock", address)
	}
	network, dial := listen.Network, listen.JoinHostPort(0)
	host := dial
	if listen.IsUnixNetwork() {
		// Caddy allows the socket's permissions after its path.
		path, _, _ := strings.Cut(listen.Host, "|")
		network, dial, host = "unix", path, "127.0.0.1"
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, dial)
	}}
	return &client{address: dial, host: host, socket: network == "unix", http: &http.Client{Transport: transport}}, nil
}

// payload is the body of a request.
type payload struct {
	kind string // the media type
	size int64  // in bytes; 0 if it is not known
	key  string // the Idempotency-Key, if any
	open func() io.ReadCloser
}

// jsonPayload returns a value as a body, or nil for nil.
func jsonPayload(in any) (*payload, error) {
	if in == nil {
		return nil, nil
	}
	body, err := json.Marshal(in)
	return &payload{kind: "application/json", size: int64(len(body)), open: func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) }}, err
}

// send sends a request with a body, or without one if body is nil. It returns
// a response of any status. It waits while the server makes a configuration active.
// Tokens belong in bodies: the admin endpoint logs its URIs.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body *payload, accept string) (*http.Response, error) {
	target := "http://" + c.host + AdminPrefix + path + "?" + query.Encode()
	for waited := time.Duration(0); ; waited += loadingEvery {
		response, err := c.try(ctx, method, target, body, accept)
		if err != nil || response.Header.Get(LoadingHeader) == "" || waited >= loadingWait {
			return response, err
		}
		_ = response.Body.Close()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(loadingEvery):
		}
	}
}

// try sends a request once.
func (c *client) try(ctx context.Context, method, target string, body *payload, accept string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Body, request.ContentLength = body.open(), body.size
		request.Header.Set("Content-Type", body.kind)
		if body.key != "" {
			request.Header.Set("Idempotency-Key", body.key)
		}
	}
	if !c.socket { // Caddy allows no origin of a Unix socket
		request.Header.Set("Origin", "http://"+c.host)
	}
	request.Header.Set("Accept", accept)
	response, err := c.http.Do(request)
	switch {
	case err == nil:
		return response, nil
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT):
		return nil, fmt.Errorf("no server answers at the admin address %s: start one, or name its address with --address or --config", c.address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("this user may not use the admin socket %s: run the command as the server's user, or write the socket's mode in the configuration, as `admin unix/%s|0660`", c.address, c.address)
	default:
		return nil, fmt.Errorf("calling the server at %s: %w", c.address, err)
	}
}

// answerError returns the error in an answer of the management API or of Caddy's
// admin endpoint.
func answerError(status int, answer []byte) error {
	var problem struct {
		admin.Problem
		Error string `json:"error"` // Caddy's own
	}
	_ = json.Unmarshal(answer, &problem) // on failure there is no text
	text := problem.Detail + problem.Error
	if text == "" {
		text = problem.Title
	}
	switch {
	case text == "" && status == http.StatusNotFound:
		return errors.New("the running server has no Gatefold: it is another Caddy, or an older version")
	case text == "":
		return fmt.Errorf("the server answered with status %d", status)
	}
	fields := make([]string, len(problem.Errors))
	for i, e := range problem.Errors {
		fields[i] = e.Message
		if field := strings.TrimPrefix(e.Location, "body."); field != "" {
			fields[i] = field + ": " + e.Message
		}
	}
	if len(fields) > 0 {
		text += ": " + strings.Join(fields, "; ")
	}
	return errors.New(text)
}
