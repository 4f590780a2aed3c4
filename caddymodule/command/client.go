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
)

// AdminPrefix is the path below which Caddy's local admin endpoint serves the
// management API to the commands.
const AdminPrefix = "/gatefold"

// client talks to a running server over Caddy's local admin endpoint, as `caddy
// reload` does.
type client struct {
	address string
	vendor  string
	http    *http.Client
}

// clientFlags adds the flags by which the running server is found.
func clientFlags(cmd *cobra.Command, vendor string) {
	flags := cmd.PersistentFlags()
	flags.String("address", "", "admin address of the running server (default: Caddy's own)")
	flags.StringP("config", "c", "", "configuration file from which to read the admin address")
	flags.String("adapter", "", "config adapter of that file")
	flags.String("vendor", vendor, "vendor whose records are meant")
	flags.Bool("json", false, "print JSON, for machines")
}

// newClient returns a client for the flags of a command.
func newClient(cmd *cobra.Command) (*client, error) {
	address, _ := cmd.Flags().GetString("address")
	config, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	vendor, _ := cmd.Flags().GetString("vendor")
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
		// The socket's permissions may stand behind its path.
		path, _, _ := strings.Cut(listen.Host, "|")
		dial, host = path, "127.0.0.1"
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, dial)
	}}
	return &client{address: host, vendor: vendor, http: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// maxAnswer bounds how much of an answer is read.
const maxAnswer = 16 << 20

// do calls the management API and decodes its answer. Out may be nil.
func (c *client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	status, answer, err := c.send(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	if status >= 400 {
		return answerError(status, answer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	return nil
}

// send calls the management API. Tokens go in bodies only: the admin endpoint
// logs its URIs.
func (c *client) send(ctx context.Context, method, path string, query url.Values, in any) (status int, answer []byte, err error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("vendor", c.vendor)
	address := "http://" + c.address + AdminPrefix + path + "?" + query.Encode()
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Origin", "http://"+c.address)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	return response.StatusCode, answer, nil
}

// download begins to read an answer that is not JSON, and may take its time.
func (c *client) download(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+AdminPrefix+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Origin", "http://"+c.address)
	patient := *c.http
	patient.Timeout = 0
	response, err := patient.Do(request)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if response.StatusCode >= 400 {
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		return nil, errors.Join(answerError(response.StatusCode, answer), err)
	}
	return response, nil
}

func (c *client) unreachable(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("no server answers at the admin address %s: start one, or name its address with --address or --config", c.address)
	}
	return fmt.Errorf("calling the server at %s: %w", c.address, err)
}

// answerError turns a problem, or an error of Caddy's admin endpoint, into an
// error for people.
func answerError(status int, answer []byte) error {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
		Error string `json:"error"` // Caddy's own
	}
	if json.Unmarshal(answer, &problem) != nil || problem.Title+problem.Detail+problem.Error == "" {
		if status == http.StatusNotFound {
			return errors.New("the running server knows no gatefold: it is another Caddy, or an older one")
		}
		return fmt.Errorf("the server answered with status %d", status)
	}
	text := problem.Detail
	if text == "" {
		text = problem.Error
	}
	if text == "" {
		text = problem.Title
	}
	var fields []string
	for _, e := range problem.Errors {
		field := strings.TrimPrefix(e.Location, "body.")
		if field == "" {
			fields = append(fields, e.Message)
			continue
		}
		fields = append(fields, field+": "+e.Message)
	}
	if len(fields) > 0 {
		text += ": " + strings.Join(fields, "; ")
	}
	return errors.New(text)
}
