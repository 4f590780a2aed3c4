package caddymodule

import (
	"errors"
	"slices"

	"github.com/gatefold/gatefold/caddymodule/setting"
	"github.com/gatefold/gatefold/keys"
)

func init() {
	gateOptions.register(func(h *Handler) []option {
		return []option{
			matchOption("share_param", &h.ShareParam, paramPattern, "letters, digits, - and _"),
			valuesOption("share_domain", h.addShareDomain).repeated(),
			listOption("hosts", &h.Hosts, nil),
		}
	})
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
