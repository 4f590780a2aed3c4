package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatefold/gatefold/caddymodule/block"
)

func init() {
	gateOptions.Register(func(h *Handler) []block.Option {
		return []block.Option{{Name: "local", Parse: h.parseLocal}}
	})
}

// parseLocal sets the block of `local` aside for finishLocal.
func (h *Handler) parseLocal(d *caddyfile.Dispenser) error {
	h.localSegment = d.NewFromNextSegment()
	return nil
}

// finishLocal parses the directives of `local`, which needs the state of the
// whole Caddyfile.
func (h *Handler) finishLocal(helper httpcaddyfile.Helper) error {
	if h.localSegment == nil {
		return nil
	}
	handler, err := httpcaddyfile.ParseSegmentAsSubroute(helper.WithDispenser(h.localSegment))
	if err != nil {
		return err
	}
	h.localSegment = nil
	routes, ok := handler.(*caddyhttp.Subroute)
	if !ok {
		return fmt.Errorf("local: its directives give a %T", handler)
	}
	h.Local = routes
	return nil
}
