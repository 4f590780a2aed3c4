package store_test

import (
	"errors"
	"testing"

	"github.com/gatefold/gatefold/policy/hook"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/engine"
)

// A promo is for one seller. Another client with sales:write can neither sell by its code nor
// confirm what the seller sold, and learns nothing of either.
func TestOnlySellersOfAPromoConfirm(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		b.after(b.CreatePromo(ctx, vendor, store.Promo{Code: "OWN", Items: []store.ContractItem{{SKU: "news"}}, Duration: store.DurationPerpetual, Sellers: []string{"client_a"}}))
		sold, _, err := b.Sell(ctx, vendor, store.Sale{Promo: "OWN", Seller: "client_a", Payer: store.Party{UserID: "ann"}})
		b.ok(err)
		if _, err := b.ConfirmContract(ctx, vendor, "OWN", "client_b", sold.ID, nil); !errors.Is(err, store.ErrNotFound) {
			b.Errorf("another client confirms: %v", err)
		}
		if got, err := b.ContractRecord(ctx, vendor, sold.ID); err != nil || got.ConfirmedAt != nil {
			b.Errorf("the contract is %+v, %v", got, err)
		}
		b.after(b.ConfirmContract(ctx, vendor, "OWN", "client_a", sold.ID, nil))
	})
}

// A promo takes card payments of one provider only. An event sells it if the table says that
// it is paid so; else it is answered so that the provider sends it again, and sells when the
// table is corrected.
func TestHookSellsAPromoWithProviders(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		b.after(b.CreatePromo(ctx, vendor, store.Promo{
			Code: "CARD", Items: []store.ContractItem{{SKU: "news"}}, Duration: store.DurationPerpetual, Providers: []string{"STRIPE"}, Methods: []string{"CARD", "INVOICE"},
		}))
		sale := hook.Action{Event: "e1", Type: "sold", At: b.now(), Do: hook.Sell, Order: "o1", Promo: "CARD", UserID: "ann", Confirm: true}
		for _, wrong := range [][2]string{{"", ""}, {"KLARNA", "CARD"}, {"STRIPE", "SWISH"}} {
			sale.PaymentProvider, sale.PaymentMethod = wrong[0], wrong[1]
			got, err := b.ApplyHookEvent(ctx, vendor, testHook, sale)
			if err != nil || got.Result != store.HookNoPromo || !got.Result.Retry() {
				b.Errorf("paid by %v: %+v, %v", wrong, got, err)
			}
		}
		sale.PaymentProvider, sale.PaymentMethod = "STRIPE", "CARD"
		got, err := b.ApplyHookEvent(ctx, vendor, testHook, sale)
		if err != nil || got.Result != store.HookApplied {
			b.Fatalf("paid as the promo accepts: %+v, %v", got, err)
		}
		sold, err := b.ContractRecord(ctx, vendor, got.Contract)
		if err != nil || sold.PaymentProvider != "STRIPE" || sold.PaymentMethod != "CARD" || sold.ConfirmedAt == nil {
			b.Errorf("the contract is %+v, %v", sold, err)
		}
	})
}

// A product is removed with its purchase options. One that is created again under the SKU has
// none of them, also those that an earlier version left behind.
func TestProductIsRemovedWithItsPurchaseOptions(t *testing.T) {
	onBoth(t, func(b *fixture) {
		ctx := b.Context()
		product := store.Product{SKU: "paper", Type: "article", Title: "The paper"}
		b.after(b.CreateProduct(ctx, vendor, product))
		b.after(b.CreatePurchaseOption(ctx, vendor, store.PurchaseOption{SKU: "paper", ID: "year", Name: "A year", Price: "99"}))
		b.ok(b.DeleteProduct(ctx, vendor, "paper", nil))
		if held := b.holding("A year"); held != "" {
			b.Errorf("records with %q have the option of a removed product", held)
		}
		if _, err := b.CreatePurchaseOption(ctx, vendor, store.PurchaseOption{SKU: "paper", ID: "month", Name: "A month", Price: "9"}); !errors.Is(err, store.ErrNotFound) {
			b.Errorf("an option of a removed product is created: %v", err)
		}
		// Such as an earlier version left it.
		_, err := b.records.Commit(ctx, vendor, &engine.Batch{Puts: []engine.Put{{Key: []byte("7paper\x00old"), Value: []byte(`{"id":"old","sku":"paper"}`)}}})
		b.ok(err)
		b.after(b.CreateProduct(ctx, vendor, product))
		if options, err := b.PurchaseOptions(ctx, vendor, "paper", store.Page{}); err != nil || len(options) != 0 {
			b.Errorf("the product that was created again has %v, %v", options, err)
		}
	})
}
