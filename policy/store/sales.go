package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Sale is an order of what a promo sells.
type Sale struct {
	// Promo is the promo's code. Seller and OrderID name the order: without an OrderID a
	// sale that is repeated makes another contract.
	Promo, Seller, OrderID string
	// Quantity multiplies the seats; zero means 1.
	Quantity int
	// Payer pays. Owner reads; the zero one means the payer.
	Payer, Owner                   Party
	PaymentProvider, PaymentMethod string
	VendorData, ProviderData       map[string]string
	// Confirm confirms the contract at once, also one that the order has already.
	Confirm bool
}

// OrderConflictError is the error of an order whose id has a contract with other content.
type OrderConflictError struct{ OrderID, Contract string }

func (e *OrderConflictError) Error() string {
	return "the order " + e.OrderID + " was made with other content: it has the contract " + e.Contract
}

// orderContent is what the hash of an order is of: all that makes two orders the same one.
type orderContent struct {
	Promo, Provider, Method  string
	Quantity                 int
	Payer, Owner             Party
	VendorData, ProviderData map[string]string
	// Terms are those of a contract without a promo.
	Terms *Contract `json:",omitempty"`
}

func (o *orderContent) hash() (string, error) {
	encoded, err := encode(o)
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), err
}

func orderKey(seller, order string) []byte { return key(prefixOrder, seller, order) }

// orderContract returns the id of the contract of an order, empty for none. It does not
// change until the commit.
func (t *transaction) orderContract(seller, order string) (string, error) {
	id, err := t.load(orderKey(seller, order))
	return string(id), err
}

// OrderContract returns the contract of a seller's order, or ErrNotFound.
func (s *Store) OrderContract(ctx context.Context, vendor, seller, order string) (found Contract, err error) {
	err = s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		id, err := snapshot.Get(orderKey(seller, order))
		if err != nil || id == nil {
			return errors.Join(err, errNothing(id == nil))
		}
		_, err = getIn(snapshot, contractKind.key(string(id)), &found)
		return err
	})
	return found, err
}

// Sell makes the contract of an order, and confirms it if the order says so. The same order
// again returns the same contract, and confirms it if it was not. It returns a *PromoError
// for what the promo does not sell, an *OrderConflictError for an order with other content,
// and a *ContractStateError for one to confirm that has ended without a confirmation.
func (w Writer) Sell(ctx context.Context, vendor string, sale Sale) (contract Contract, created bool, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		made, isNew, err := t.sell(sale)
		if err == nil {
			contract, created = *made, isNew
		}
		return err
	})
	return contract, created, soldOut(sale.Promo, err)
}

// soldOut returns the error of a promo for a counter at its bound.
func soldOut(promo string, err error) error {
	if _, full := errors.AsType[*engine.BoundError](err); full {
		return &PromoError{promo, PromoUsedUp, nil}
	}
	return err
}

// sell is Sell within a transaction, whose commit counts the contract: a BoundError is that
// of a promo that is used up.
func (t *transaction) sell(sale Sale) (made *Contract, isNew bool, err error) {
	if sale.Quantity == 0 {
		sale.Quantity = 1
	}
	if sale.Owner.UserID == "" && sale.Owner.Email == "" {
		sale.Owner = sale.Payer
	}
	content := orderContent{
		Promo: sale.Promo, Provider: sale.PaymentProvider, Method: sale.PaymentMethod, Quantity: sale.Quantity,
		Payer: sale.Payer, Owner: sale.Owner, VendorData: sale.VendorData, ProviderData: sale.ProviderData,
	}
	hash, err := content.hash()
	if err != nil {
		return nil, false, err
	}
	if err := engine.Prefetch(t.snapshot, orderKey(sale.Seller, sale.OrderID), promoKind.key(sale.Promo)); err != nil {
		return nil, false, err
	}
	if made, err = t.ordered(sale.Seller, sale.OrderID, hash, sale.Confirm); err != nil || made != nil {
		return made, false, err
	}
	promo, err := promoKind.get(t, sale.Promo)
	if err != nil {
		return nil, false, err
	}
	if promo == nil {
		return nil, false, &PromoError{sale.Promo, PromoUnknown, ErrNotFound}
	}
	if err := promo.sells(&sale, t.now); err != nil {
		return nil, false, err
	}
	made = promo.contract(&sale, t.now)
	made.OrderHash = hash
	t.counters = append(t.counters, engine.Counter{Key: key(prefixPromoUses, promo.Code), Max: int64(promo.MaxContracts)})
	return made, true, t.addContract(made, sale.Confirm)
}

// contract returns the contract of an order.
func (p *Promo) contract(sale *Sale, now time.Time) *Contract {
	abandon := now.AddDate(0, 0, p.ConfirmWithin)
	made := &Contract{
		ID: newContractID(now), Name: p.Name, Promo: p.Code, Seller: sale.Seller, OrderID: sale.OrderID, Owner: sale.Owner, Payer: sale.Payer,
		Items: slices.Clone(p.Items), Quantity: sale.Quantity, Seats: seatsOf(p.Items, sale.Quantity), Duration: p.Duration, Interval: p.Interval, Times: p.Times,
		EndsAt: p.EndsAt, StartsAt: now, AbandonAt: &abandon, Price: p.Price, Currency: p.Currency,
		PaymentProvider: sale.PaymentProvider, PaymentMethod: sale.PaymentMethod, VendorData: sale.VendorData, ProviderData: sale.ProviderData,
	}
	made.Owner.keepOnly(p.Keeps)
	made.Payer.keepOnly(p.Keeps)
	return made
}

// keepOnly removes the members that are kept only if the vendor says so.
func (p *Party) keepOnly(keeps []string) {
	for member, value := range map[string]*string{"birthday": &p.Birthday, "gender": &p.Gender, "vatNr": &p.VATNumber} {
		if !slices.Contains(keeps, member) {
			*value = ""
		}
	}
}

// ordered returns the contract of an order, nil if there is none, and confirms it if it was
// not. A contract that was confirmed is returned as it is, even if it has ended since.
func (t *transaction) ordered(seller, order, hash string, confirm bool) (*Contract, error) {
	if order == "" {
		return nil, nil
	}
	id, err := t.orderContract(seller, order)
	if err != nil || id == "" {
		return nil, err
	}
	found, err := contractKind.need(t, id)
	switch {
	case err != nil:
		return nil, err
	case found.OrderHash != hash:
		return nil, &OrderConflictError{order, id}
	case !confirm || found.ConfirmedAt != nil:
		return found, nil
	}
	return found, t.confirmContract(found, nil)
}

// addContract stores a new contract, and confirms it if asked to.
func (t *transaction) addContract(made *Contract, confirm bool) error {
	made.State = StateUnconfirmed
	if confirm {
		made.confirm(t.now)
	}
	return contractKind.put(t, made)
}

// confirmContract confirms a contract.
func (t *transaction) confirmContract(next *Contract, paid map[string]string) error {
	if done, err := next.allows(stepConfirm, t.now); err != nil || done {
		return err
	}
	next.confirm(t.now)
	if paid != nil {
		next.ProviderPaymentData = paid
	}
	return contractKind.put(t, next)
}

// ConfirmContract confirms a contract of a promo for a seller. Confirming a confirmed one
// changes nothing. It returns ErrNotFound when the promo has no such contract or is not for
// the seller, and a *ContractStateError for one that has ended.
func (w Writer) ConfirmContract(ctx context.Context, vendor, promo, seller, id string, providerPaymentData map[string]string) (made Contract, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		old, err := contractKind.need(t, id)
		if err != nil {
			return err
		}
		sold, err := promoKind.get(t, old.Promo)
		if err != nil {
			return err
		}
		if old.Promo != promo || sold != nil && !sold.soldBy(seller) {
			return ErrNotFound
		}
		made = *old
		return t.confirmContract(&made, providerPaymentData)
	})
	return made, err
}

// CreateContract makes a contract without a promo, and confirms it if asked to. The order is
// idempotent as that of a sale is. Unless Seats is set, it has those of its items.
func (w Writer) CreateContract(ctx context.Context, vendor string, wanted Contract, confirm bool) (contract Contract, created bool, err error) {
	err = w.transact(ctx, vendor, func(t *transaction) error {
		hash, err := (&orderContent{Terms: &wanted}).hash()
		if err != nil {
			return err
		}
		found, err := t.ordered(wanted.Seller, wanted.OrderID, hash, confirm)
		if err != nil || found != nil {
			if found != nil {
				contract, created = *found, false
			}
			return err
		}
		made, abandon := wanted, t.now.AddDate(0, 0, DefaultConfirmWithin)
		made.ID, made.OrderHash, made.Promo, made.AbandonAt = newContractID(t.now), hash, "", &abandon
		made.ConfirmedAt, made.CancelRequestedAt, made.WillCancelAt, made.CanceledAt, made.SeatsTaken, made.Renewals = nil, nil, nil, nil, 0, nil
		if made.Owner.UserID == "" && made.Owner.Email == "" {
			made.Owner = made.Payer
		}
		if made.StartsAt.IsZero() {
			made.StartsAt = t.now
		}
		if made.Seats == 0 {
			made.Seats = seatsOf(made.Items, max(made.Quantity, 1))
		}
		// EndsAt and terms are checked before confirm counts with them.
		if err := made.normalize(); err != nil {
			return err
		}
		made.Owner.keepOnly(nil)
		made.Payer.keepOnly(nil)
		if err := t.addContract(&made, confirm); err != nil {
			return err
		}
		contract, created = made, true
		return nil
	})
	return contract, created, err
}
