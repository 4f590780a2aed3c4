package admin_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/policy/store"
)

// A process that delivers no events is asked to test a webhook: it says so, and that of a
// webhook that does not exist as always. One that delivers sends the event.
func TestWebhookTestWithoutDelivery(t *testing.T) {
	const path = "/management/webhooks"
	for name, delivers := range map[string]bool{"delivers": true, "delivers none": false} {
		t.Run(name, func(t *testing.T) {
			var tested string
			b := newFixtureWith(t, func(o *admin.Options) {
				o.TestWebhook = func(_ context.Context, _, id string) (store.Delivery, error) {
					tested = id
					return store.Delivery{}, nil
				}
				if !delivers {
					o.TestWebhook = nil
				}
			})
			var made struct{ ID string }
			b.call(http.MethodPost, path, `{"url":"https://hooks.example/in","description":"mailer"}`).want(http.StatusCreated, &made)
			b.call(http.MethodPost, path+"/none/test", "").refused(http.StatusNotFound, "not_found", "")
			got := b.call(http.MethodPost, path+"/"+made.ID+"/test", "")
			if !delivers {
				got.refused(http.StatusNotImplemented, "not_implemented", "")
				return
			}
			if got.code != http.StatusOK || tested != made.ID {
				t.Errorf("%d %s, tested %q", got.code, got.body, tested)
			}
		})
	}
}
