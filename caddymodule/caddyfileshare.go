package caddymodule

import (
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/caddymodule/block"
	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
)

func init() {
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{
			block.Match("share_param", &h.ShareParam, paramPattern, "letters, digits, - and _"),
			block.Values("share_domain", h.addShareDomain).Repeated(),
			block.List("hosts", &h.Hosts, checkHost),
		}
	})
}

// hostPattern matches a name as in a site's address, with wildcards, or an IPv6 address. A
// name of another script is written as such.
var hostPattern = regexp.MustCompile(`^(\*|[^\s/:,*@?#\[\]]+)(\.(\*|[^\s/:,*@?#\[\].]+))*$`)

// checkHost refuses what is no host: it would match no request.
func checkHost(text string) error {
	if hostPattern.MatchString(text) || net.ParseIP(strings.Trim(text, "[]")) != nil {
		return nil
	}
	return errors.New("must be a host name, such as news.example.com or *.example.com, without scheme, port and path")
}

func (h *Handler) addShareDomain(text string) error {
	domain, err := text, error(nil)
	if !setting.Has(text) {
		domain, err = keys.NormalDomain(text)
	}
	if err != nil {
		return err
	}
	if slices.Contains(h.ShareDomains, domain) {
		return errors.New("is given twice")
	}
	h.ShareDomains = append(h.ShareDomains, domain)
	return nil
}
