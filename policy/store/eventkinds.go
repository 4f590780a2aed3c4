package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// eventKind is how changes of the records of one kind become events.
type eventKind struct {
	name string
	// verbs are the verbs of the kind's events; verb returns the one of a change, and ""
	// for a change that is no event. Before is nil for a new record, after for a removed
	// one.
	verbs []string
	// never are usual verbs that the kind does not have: created, changed or removed.
	never []string
	verb  func(before, after []byte) (string, error)
	// show returns a record as an event has it: as the API shows it, without keys.
	show func(r *eventReader, record []byte) (map[string]any, error)
}

// Verbs of events of all kinds.
const (
	verbCreated = "created"
	verbChanged = "changed"
	verbRemoved = "removed"
	// verbBulk names the records of a batch of many changes.
	verbBulk = "bulk"
)

// eventKinds has the kinds by the first byte of their keys. A kind that is not listed has
// no events.
var eventKinds = map[byte]eventKind{
	prefixProfile:      {name: "profile", verb: verbOf[Profile](nil), show: showOf(showProfile)},
	prefixUser:         {name: "user", verb: verbOf[User](nil), show: showOf(showUser)},
	prefixRoleType:     {name: "role_type", verb: verbOf[RoleType](nil), show: showOf(showRoleType)},
	prefixRole:         {name: "role", verbs: []string{verbInvited, verbRequested, verbAccepted, verbGranted}, verb: verbOf(roleVerb), show: showOf(showRole)},
	prefixPlan:         {name: "plan", verb: verbOf[Plan](nil), show: showOf(showPlan)},
	prefixSubscription: {name: "subscription", verbs: []string{verbOffered, verbRequested, verbAccepted, verbEnded}, verb: verbOf(subscriptionVerb), show: showOf(showSubscription)},
	prefixAgreement:    {name: "agreement", verb: verbOf(agreementVerb), show: showOf(showAgreement)},
	prefixSignature:    {name: "signature", verbs: []string{verbSigned}, never: []string{verbCreated, verbChanged}, verb: verbOf(signatureVerb), show: showOf(showSignature)},

	prefixPromo: {name: "promo", never: []string{verbRemoved}, verb: verbOf[Promo](nil), show: showOf(showPromo)},
	prefixContract: {
		name: "contract", verbs: []string{verbConfirmed, verbCancelRequested, verbCanceled, verbRenewed, verbTransferred}, never: []string{verbRemoved},
		verb: contractVerbOf, show: showOf(showContract),
	},
	prefixSeat: {name: "seat", verb: verbOf[Seat](nil), show: showOf(showSeat)},

	prefixBill:           {name: "bill", never: []string{verbRemoved}, verb: verbOf[Bill](nil), show: showOf(showSent[Bill])},
	prefixTransaction:    {name: "transaction", never: []string{verbRemoved}, verb: verbOf[Transaction](nil), show: showOf(showSent[Transaction])},
	prefixFulfilment:     {name: "fulfilment", never: []string{verbRemoved}, verb: verbOf[Fulfilment](nil), show: showOf(showSent[Fulfilment])},
	prefixPurchaseOption: {name: "purchase_option", verb: verbOf[PurchaseOption](nil), show: showOf(showSent[PurchaseOption])},
}

// Verbs of roles, subscriptions and signatures.
const (
	verbInvited   = "invited"
	verbRequested = "requested"
	verbAccepted  = "accepted"
	verbGranted   = "granted"
	verbOffered   = "offered"
	verbEnded     = "ended"
	verbSigned    = "signed"
)

// Verbs of contracts.
const (
	verbConfirmed       = "confirmed"
	verbCancelRequested = "cancel_requested"
	verbCanceled        = "canceled"
	verbRenewed         = "renewed"
	verbTransferred     = "transferred"
)

// TestEvent is the type of the events that a test sends.
const TestEvent = "webhook.test"

// EventTypes returns all types of events, sorted.
func EventTypes() []string {
	types := []string{TestEvent}
	for _, kind := range eventKinds {
		for _, verb := range append([]string{verbCreated, verbChanged, verbRemoved, verbBulk}, kind.verbs...) {
			if !slices.Contains(kind.never, verb) {
				types = append(types, kind.name+"."+verb)
			}
		}
	}
	slices.Sort(types)
	return types
}

// verbOf returns the verb of a change. Special returns verbs of the kind, "" for the
// usual one; it may be nil.
func verbOf[T any](special func(before, after *T) string) func(before, after []byte) (string, error) {
	return func(before, after []byte) (string, error) {
		var was, is *T
		for _, side := range []struct {
			stored []byte
			record **T
		}{{before, &was}, {after, &is}} {
			if side.stored == nil {
				continue
			}
			*side.record = new(T)
			if err := json.Unmarshal(side.stored, *side.record); err != nil {
				return "", err
			}
		}
		switch {
		case is == nil:
			return verbRemoved, nil
		case special != nil:
			if verb := special(was, is); verb == verbNone {
				return "", nil
			} else if verb != "" {
				return verb, nil
			}
		}
		if was == nil {
			return verbCreated, nil
		}
		return verbChanged, nil
	}
}

// verbNone is what a special verb function returns for a change that is no event.
const verbNone = "-"

func roleVerb(was, is *Role) string {
	if was == nil {
		was = new(Role)
	}
	switch {
	case is.GrantKey != "" && is.GrantKey != was.GrantKey:
		return verbInvited
	case is.RequestKey != "" && is.RequestKey != was.RequestKey:
		return verbRequested
	case was.GrantKey != "" && is.GrantKey == "" && is.Type != "":
		return verbAccepted
	case was.RequestKey != "" && is.RequestKey == "" && is.Type != was.Type:
		return verbGranted
	}
	return ""
}

func subscriptionVerb(was, is *Subscription) string {
	if was == nil {
		was = new(Subscription)
	}
	switch {
	case is.GrantKey != "" && is.GrantKey != was.GrantKey:
		return verbOffered
	case is.RequestKey != "" && is.RequestKey != was.RequestKey:
		return verbRequested
	case was.GrantKey+was.RequestKey != "" && is.GrantKey+is.RequestKey == "":
		return verbAccepted
	case was.ID != "" && was.EndsAt.After(is.UpdatedAt) && !is.EndsAt.After(is.UpdatedAt):
		return verbEnded
	}
	return ""
}

// agreementVerb leaves out what the first signature changes.
func agreementVerb(was, is *Agreement) string {
	if was != nil && was.Title == is.Title && was.Text == is.Text && was.UpdatedAt.Equal(is.UpdatedAt) {
		return verbNone
	}
	return ""
}

func signatureVerb(_, _ *Signature) string { return verbSigned }

// eventReader reads the records that events mention. A batch may write them itself.
type eventReader struct {
	snapshot engine.Snapshot
	vendor   string
	batch    *engine.Batch
}

// related returns a record that an event mentions, the zero one if there is none.
func related[T any](r *eventReader, k *kind[T], path ...string) (record T, err error) {
	if path[0] == "" {
		return record, nil
	}
	at := k.key(path...)
	stored, err := r.snapshot.Get(at)
	if err != nil {
		return record, err
	}
	if i := slices.IndexFunc(r.batch.Puts, func(put engine.Put) bool { return bytes.Equal(put.Key, at) }); i >= 0 {
		stored = r.batch.Puts[i].Value
	}
	found, err := k.decode(r.vendor, stored, path)
	if found != nil {
		record = *found
	}
	return record, err
}

func showOf[T any](show func(*eventReader, *T) (map[string]any, error)) func(*eventReader, []byte) (map[string]any, error) {
	return func(r *eventReader, stored []byte) (map[string]any, error) {
		record := new(T)
		if err := json.Unmarshal(stored, record); err != nil {
			return nil, err
		}
		return show(r, record)
	}
}

// members returns the JSON members of a record, without those that are left out of events.
func members(record any, without ...string) (map[string]any, error) {
	encoded, err := encode(record)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for member, value := range decodeMembers(encoded) {
		if !slices.Contains(without, member) {
			all[member] = value
		}
	}
	return all, nil
}

func decodeMembers(encoded []byte) map[string]json.RawMessage {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(encoded, &all) // it was encoded from a struct
	return all
}

func showProfile(_ *eventReader, p *Profile) (map[string]any, error) {
	shown, err := members(p, "inactive", "updated_at")
	if err == nil {
		shown["printable_name"], shown["is_active"] = cmp.Or(p.FullName, p.Slug), !p.Inactive
	}
	return shown, err
}

func showUser(_ *eventReader, u *User) (map[string]any, error) {
	shown, err := members(u, "inactive", "updated_at")
	if err == nil {
		shown["username"], shown["printable_name"], shown["is_active"] = u.Slug, printableName(u), !u.Inactive
	}
	return shown, err
}

func printableName(u *User) string { return cmp.Or(u.FullName, u.NickName, u.Slug) }

func showRoleType(_ *eventReader, t *RoleType) (map[string]any, error) {
	shown := map[string]any{
		"slug": t.Slug, "title": t.Title, "created_at": t.CreatedAt, "skip_optin_on_grant": t.SkipOptInOnGrant,
		"implicit_create_on_none": t.ImplicitCreateOnNone, "otp_required": t.OTPRequired, "is_global": t.Profile == "", "extra": t.Extra,
	}
	if t.Profile != "" {
		shown["profile"] = t.Profile
	}
	return shown, nil
}

func showPlan(_ *eventReader, p *Plan) (map[string]any, error) {
	shown, err := members(p, "inactive", "updated_at", "provider")
	if err == nil {
		shown["profile"], shown["is_active"] = p.Provider, !p.Inactive
	}
	return shown, err
}

func showRole(r *eventReader, role *Role) (map[string]any, error) {
	profile, err := profileOf(r, role.Profile)
	if err != nil {
		return nil, err
	}
	user, err := userOf(r, role.User)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"created_at": role.CreatedAt, "profile": profile, "user": user, "role_description": typeOf(role.Type), "requested": typeOf(role.Requested),
		"grant_key": waits(role.GrantKey), "request_key": waits(role.RequestKey), "ends_at": role.EndsAt, "extra": role.Extra,
	}, nil
}

func showSubscription(r *eventReader, s *Subscription) (map[string]any, error) {
	profile, err := profileOf(r, s.Profile)
	if err != nil {
		return nil, err
	}
	provider, err := profileOf(r, s.Provider)
	if err != nil {
		return nil, err
	}
	plan, err := related(r, planKind, s.Plan)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"id": s.ID, "created_at": s.StartsAt, "ends_at": s.EndsAt, "profile": profile, "provider": provider,
		"plan":       map[string]any{"slug": s.Plan, "title": cmp.Or(plan.Title, s.Plan)},
		"auto_renew": s.AutoRenew, "balance_due": s.BalanceDue, "description": s.Description, "extra": s.Extra,
		"grant_key": waits(s.GrantKey), "request_key": waits(s.RequestKey),
	}, nil
}

func showAgreement(_ *eventReader, a *Agreement) (map[string]any, error) {
	return map[string]any{"slug": a.Slug, "title": a.Title, "updated_at": a.UpdatedAt}, nil
}

func showSignature(r *eventReader, s *Signature) (map[string]any, error) {
	user, err := userOf(r, s.User)
	if err != nil {
		return nil, err
	}
	agreement, err := related(r, agreementKind, s.Agreement)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"agreement": map[string]any{"slug": s.Agreement, "title": cmp.Or(agreement.Title, s.Agreement)}, "user": user,
		"last_signed": s.SignedAt, "updated_at": s.Version,
	}, nil
}

// profileOf returns what a mailer needs of a profile.
func profileOf(r *eventReader, slug string) (map[string]any, error) {
	p, err := related(r, profileKind, slug)
	return map[string]any{"slug": slug, "printable_name": cmp.Or(p.FullName, slug), "email": p.Email, "lang": p.Language, "type": cmp.Or(p.Type, TypeOrganization)}, err
}

// userOf returns what a mailer needs of a user.
func userOf(r *eventReader, slug string) (map[string]any, error) {
	u, err := related(r, userKind, slug)
	return map[string]any{"slug": slug, "username": slug, "printable_name": cmp.Or(printableName(&u), slug), "email": u.Email, "lang": u.Language}, err
}

// typeOf returns a role type by its slug, nil for none.
func typeOf(slug string) any {
	if slug == "" {
		return nil
	}
	return map[string]any{"slug": slug}
}

// waits returns what lists have for the key of a record that waits, nil for none.
func waits(hash string) any {
	if hash == "" {
		return nil
	}
	return "1"
}

// eventName returns the path of a record, without empty parts.
func eventName(k []byte) []string {
	return slices.DeleteFunc(strings.Split(string(k[1:]), "\x00"), func(part string) bool { return part == "" })
}

// wantedKinds returns the names of the kinds that have events, sorted.
func wantedKinds() []string {
	names := map[string]bool{}
	for _, kind := range eventKinds {
		names[kind.name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
