package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// startConfig is the part of a configuration that names what a server needs from the
// machine when it starts.
type startConfig struct {
	Admin struct {
		Disabled bool   `json:"disabled"`
		Listen   string `json:"listen"`
	} `json:"admin"`
	Apps struct {
		HTTP struct {
			HTTPPort  int `json:"http_port"`
			HTTPSPort int `json:"https_port"`
			Servers   map[string]struct {
				Listen []string `json:"listen"`
				Auto   struct {
					Disabled    bool `json:"disable"`
					NoRedirects bool `json:"disable_redirects"`
				} `json:"automatic_https"`
			} `json:"servers"`
		} `json:"http"`
	} `json:"apps"`
}

// checkStart reports why a server could not start with a valid configuration. While a
// server answers at the configuration's admin address, the ports and the store are taken
// to be that server's, which a reload keeps.
func checkStart(ctx context.Context, config []byte, store func([]byte) error) error {
	var start startConfig
	if err := json.Unmarshal(config, &start); err != nil {
		return fmt.Errorf("reading the addresses of the configuration: %w", err)
	}
	if start.Admin.Listen == "" {
		start.Admin.Listen = caddy.DefaultAdminListen
	}
	if !start.Admin.Disabled && serverAnswers(ctx, start.Admin.Listen) {
		return nil
	}
	for _, address := range start.addresses() {
		if err := checkListen(ctx, address); err != nil {
			return err
		}
	}
	return store(config)
}

// addresses returns the addresses at which the server listens.
func (s *startConfig) addresses() (all []string) {
	if !s.Admin.Disabled {
		all = append(all, s.Admin.Listen)
	}
	plain, secure := s.Apps.HTTP.HTTPPort, s.Apps.HTTP.HTTPSPort
	if plain == 0 {
		plain = caddyPortHTTP
	}
	if secure == 0 {
		secure = caddyPortHTTPS
	}
	for _, server := range s.Apps.HTTP.Servers {
		all = append(all, server.Listen...)
		tls := slices.ContainsFunc(server.Listen, func(address string) bool { return strings.HasSuffix(address, ":"+strconv.Itoa(secure)) })
		if tls && !server.Auto.Disabled && !server.Auto.NoRedirects {
			all = append(all, ":"+strconv.Itoa(plain)) // Caddy's redirects to https
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

const (
	caddyPortHTTP  = 80
	caddyPortHTTPS = 443
)

// answersWithin bounds how long a server at the admin address may take.
const answersWithin = 2 * time.Second

// serverAnswers reports whether a server answers at an admin address.
func serverAnswers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, answersWithin)
	defer cancel()
	c, err := clientOf(caddy.NewReplacer().ReplaceAll(address, ""))
	if err != nil {
		return false
	}
	response, err := c.try(ctx, http.MethodGet, "http://"+c.host+AdminPrefix+"/health", nil, "application/json")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

// checkListen listens at an address as Caddy would, and stops. Of a Unix socket it only
// looks at the folder: to listen would remove the socket of a server.
func checkListen(ctx context.Context, text string) error {
	address, err := caddy.ParseNetworkAddress(caddy.NewReplacer().ReplaceAll(text, ""))
	if err != nil || address.IsFdNetwork() {
		return err
	}
	if address.IsUnixNetwork() {
		path, _, _ := strings.Cut(address.Host, "|")
		if _, err := os.Stat(filepath.Dir(path)); err != nil && !strings.HasPrefix(path, "@") {
			return fmt.Errorf("a server cannot listen at %s: %w: create the folder", text, err)
		}
		return nil
	}
	for offset := range address.PortRangeSize() {
		listener, err := address.Listen(ctx, offset, net.ListenConfig{})
		if err != nil {
			return fmt.Errorf("a server cannot listen at %s: %w: free the port, or choose another; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)", text, err)
		}
		if closer, ok := listener.(io.Closer); ok {
			_ = closer.Close()
		}
	}
	return nil
}
