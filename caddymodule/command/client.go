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

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/gatefold/gatefold/admin"
)

// AdminPrefix is the path of the management API at Caddy's local admin endpoint.
const AdminPrefix = "/gatefold"

// client is an HTTP client of Caddy's local admin endpoint.
type client struct {
	host string
	http *http.Client
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
	listen, err := caddy.ParseNetworkAddress(address)
	if err != nil || listen.PortRangeSize() > 1 {
		return nil, fmt.Errorf("the admin address %q is not valid", address)
	}
	network, dial := listen.Network, listen.JoinHostPort(0)
	host := dial
	if listen.IsUnixNetwork() {
		// Caddy allows the socket's permissions after its path.
		path, _, _ := strings.Cut(listen.Host, "|")
		dial, host = path, "127.0.0.1"
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, dial)
	}}
	return &client{host: host, http: &http.Client{Transport: transport}}, nil
}

// send sends a request with a JSON body, or without a body if in is nil. It returns
// a response of any status. Tokens belong in bodies: the admin endpoint logs its
// URIs.
func (c *client) send(ctx context.Context, method, path string, query url.Values, in any, accept string) (*http.Response, error) {
	origin := "http://" + c.host
	request, err := http.NewRequestWithContext(ctx, method, origin+AdminPrefix+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(encoded)), int64(len(encoded))
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Origin", origin)
	request.Header.Set("Accept", accept)
	response, err := c.http.Do(request)
	switch {
	case err == nil:
		return response, nil
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT):
		return nil, fmt.Errorf("no server answers at the admin address %s: start one, or name its address with --address or --config", c.host)
	default:
		return nil, fmt.Errorf("calling the server at %s: %w", c.host, err)
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
