package hook_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/hook"
)

const renewed = `{"id":"evt_1","type":"invoice.paid","created":1798761600,"data":{"object":{"subscription":"sub_1","paid":true,"number":7,
 "a/b":"slash","m~n":"tilde","":"empty","lines":[{"period":{"end":1801440000}},{"period":{"end":"2027-03-01T00:00:00+01:00"}}]}}}`

func renew(endsAt string, when map[string]any) []hook.Entry {
	return []hook.Entry{{Event: "invoice.*", When: when, Do: hook.Renew, Order: "/data/object/subscription", EndsAt: endsAt}}
}

func read(t *testing.T, table []hook.Entry, body string) (hook.Action, error) {
	t.Helper()
	require.NoError(t, hook.Check(table))
	source := hook.Source{Scheme: hook.Stripe, Table: table}
	return source.Read("", []byte(body))
}

// An entry takes the order and the end from the event, in both ways to write a time.
func TestReadsAnEventByTheTable(t *testing.T) {
	t.Parallel()
	for endsAt, want := range map[string]time.Time{
		"/data/object/lines/0/period/end": time.Unix(1801440000, 0).UTC(),
		"/data/object/lines/1/period/end": time.Date(2027, 2, 28, 23, 0, 0, 0, time.UTC),
	} {
		act, err := read(t, renew(endsAt, map[string]any{"/data/object/paid": true, "/data/object/number": "7", "/data/object/refunded": nil}), renewed)
		require.NoError(t, err)
		require.Equal(t, hook.Action{
			Event: "evt_1", Type: "invoice.paid", At: time.Unix(1798761600, 0).UTC(), Do: hook.Renew, Order: "sub_1", EndsAt: &want,
		}, act)
	}
	for what, when := range map[string]map[string]any{
		"another value":   {"/data/object/paid": false},
		"another kind":    {"/data/object/paid": "true"},
		"nothing there":   {"/data/object/refunded": true},
		"something there": {"/data/object/paid": nil},
		"an object":       {"/data/object": "x"},
	} {
		act, err := read(t, renew("/x", when), renewed)
		require.NoError(t, err, what)
		require.Empty(t, act.Do, what)
	}
}

// Pointers are those of RFC 6901, section 5.
func TestPointers(t *testing.T) {
	t.Parallel()
	for pointer, want := range map[string]string{"/data/object/a~1b": "slash", "/data/object/m~0n": "tilde", "/data/object/": "empty", "/data/object/number": "7"} {
		act, err := read(t, []hook.Entry{{Event: "invoice.paid", Do: hook.Confirm, Contract: pointer}}, renewed)
		require.NoError(t, err, pointer)
		require.Equal(t, want, act.Contract)
	}
	for _, pointer := range []string{"/data/object/lines/00/period/end", "/data/object/lines/-", "/data/object/lines/2/period/end", "/data/object/number/0", "/none"} {
		_, err := read(t, []hook.Entry{{Event: "invoice.paid", Do: hook.Confirm, Contract: pointer}}, renewed)
		failed, ok := errors.AsType[*hook.Error](err)
		require.True(t, ok, pointer)
		require.Equal(t, pointer, failed.Field)
	}
	for _, bad := range []string{"", "data", "/a~2", "/a~", "/" + strings.Repeat("x", 255), strings.Repeat("/a", 17), "/\x00"} {
		require.Error(t, hook.CheckPointer(bad), bad)
	}
}

// What an event does not have as the table needs it is an error that names the place, and
// repeats nothing of the event.
func TestRefusesEventsThatTheTableCannotRead(t *testing.T) {
	t.Parallel()
	sell := []hook.Entry{{Event: "sold", Do: hook.Sell, Order: "/o", Promo: "P", Email: "/e", UserID: "/u", Quantity: "/q"}, {Event: "paid", Do: hook.Confirm, Order: "/o", EndsAt: "/end"}}
	for body, field := range map[string]string{
		`{"id":"e","type":"sold","o":"1","e":"a@example.com","q":1,"end":1}`:                                     "/created",
		`{"id":"e","type":"sold","created":1,"e":"a@example.com","q":1,"end":1}`:                                 "/o",
		`{"id":"e","type":"sold","created":1,"o":"1","q":1,"end":1}`:                                             "/e",
		`{"id":"e","type":"sold","created":1,"o":{"x":1},"e":"a@example.com","q":1,"end":1}`:                     "/o",
		`{"id":"e","type":"sold","created":1,"o":"1","e":"a@example.com","q":0,"end":1}`:                         "/q",
		`{"id":"e","type":"sold","created":1,"o":"1","e":"a@example.com","q":1.5,"end":1}`:                       "/q",
		`{"id":"e","type":"paid","created":1,"o":"1","e":"a@example.com","q":1}`:                                 "/end",
		`{"id":"e","type":"paid","created":1,"o":"1","e":"a@example.com","q":1,"end":1801440000000}`:             "/end",
		`{"id":"e","type":"paid","created":1,"o":"1","e":"a@example.com","q":1,"end":"tomorrow"}`:                "/end",
		`{"id":"e","type":"sold","created":1,"o":"1","e":"a\u0000b@example.com","q":1,"end":1}`:                  "/e",
		`{"id":"e","type":"sold","created":1,"o":"` + strings.Repeat("1", 1025) + `","e":"a@b.c","q":1,"end":1}`: "/o",
	} {
		act, err := read(t, sell, body)
		failed, ok := errors.AsType[*hook.Error](err)
		require.True(t, ok, body)
		require.Equal(t, field, failed.Field, body)
		require.NotContains(t, failed.Problem, "example.com")
		require.Equal(t, "e", act.Event)
	}
	for _, body := range []string{`[]`, `null`, ``, `{"id":"e","type":"sold"} x`, `{"type":"sold"}`, `{"id":"e"}`, `{"id":"e\n","type":"sold"}`, `{"id":"` + strings.Repeat("e", 256) + `","type":"sold"}`} {
		_, err := read(t, sell, body)
		require.ErrorIs(t, err, hook.ErrUnreadable, body)
	}
	// One of address and user id is enough.
	act, err := read(t, sell, `{"id":"e","type":"sold","created":1,"o":"1","u":12,"q":2,"end":1}`)
	require.NoError(t, err)
	require.Equal(t, "12", act.UserID)
	require.Equal(t, 2, act.Quantity)
}

// What in a table can only be a mistake is refused, and the error names the place.
func TestRefusesMistakesInATable(t *testing.T) {
	t.Parallel()
	good := hook.Entry{Event: "a", Do: hook.Renew, Order: "/o", EndsAt: "/e"}
	with := func(change func(*hook.Entry)) []hook.Entry {
		e := good
		change(&e)
		return []hook.Entry{{Event: "first", Do: hook.Ignore}, e}
	}
	for what, c := range map[string]struct {
		table []hook.Entry
		field string
	}{
		"no entry":               {nil, "table"},
		"too many":               {make([]hook.Entry, 33), "table"},
		"no type":                {with(func(e *hook.Entry) { e.Event = "" }), "table[1].event"},
		"a star alone":           {with(func(e *hook.Entry) { e.Event = "*" }), "table[1].event"},
		"a star inside":          {with(func(e *hook.Entry) { e.Event = "a.*.b" }), "table[1].event"},
		"a long type":            {with(func(e *hook.Entry) { e.Event = strings.Repeat("a", 129) }), "table[1].event"},
		"no action":              {with(func(e *hook.Entry) { e.Do = "" }), "table[1].do"},
		"an unknown action":      {with(func(e *hook.Entry) { e.Do = "prolong" }), "table[1].do"},
		"no contract":            {with(func(e *hook.Entry) { e.Order = "" }), "table[1].order"},
		"two contracts":          {with(func(e *hook.Entry) { e.Contract = "/c" }), "table[1].contract"},
		"renewal without an end": {with(func(e *hook.Entry) { e.EndsAt = "" }), "table[1].endsAt"},
		"a member in vain":       {with(func(e *hook.Entry) { e.Promo = "P" }), "table[1].promo"},
		"a time in vain":         {with(func(e *hook.Entry) { e.Do, e.EndsAt, e.At = hook.End, "", "/a" }), "table[1].at"},
		"confirmed in vain":      {with(func(e *hook.Entry) { e.Confirm = true }), "table[1].confirm"},
		"no pointer":             {with(func(e *hook.Entry) { e.EndsAt = "data.end" }), "table[1].endsAt"},
		"no pointer in when":     {with(func(e *hook.Entry) { e.When = map[string]any{"paid": true} }), "table[1].when"},
		"a number in when":       {with(func(e *hook.Entry) { e.When = map[string]any{"/paid": 1.0} }), "table[1].when"},
		"a long text in when":    {with(func(e *hook.Entry) { e.When = map[string]any{"/paid": strings.Repeat("a", 256)} }), "table[1].when"},
		"too much in when": {with(func(e *hook.Entry) {
			e.When = map[string]any{"/1": true, "/2": true, "/3": true, "/4": true, "/5": true}
		}), "table[1].when"},
		"sale without a reader": {with(func(e *hook.Entry) { e.Do, e.EndsAt, e.Promo = hook.Sell, "", "P" }), "table[1].email"},
		"sale without a promo":  {with(func(e *hook.Entry) { e.Do, e.EndsAt, e.Email = hook.Sell, "", "/e" }), "table[1].promo"},
		"sale of a contract":    {with(func(e *hook.Entry) { e.Do, e.EndsAt, e.Email, e.Promo, e.Contract = hook.Sell, "", "/e", "P", "/c" }), "table[1].contract"},
		"never reached":         {[]hook.Entry{{Event: "a.*", Do: hook.Ignore}, {Event: "a.b", Do: hook.Confirm, Order: "/o"}}, "table[1].event"},
		"the same twice":        {[]hook.Entry{good, good}, "table[1].event"},
	} {
		failed, ok := errors.AsType[*hook.Error](hook.Check(c.table))
		require.True(t, ok, what)
		require.Equal(t, c.field, failed.Field, what)
		require.NotEmpty(t, failed.Problem)
	}
	require.NoError(t, hook.Check(with(func(*hook.Entry) {})))
	require.NoError(t, hook.Check([]hook.Entry{{Event: "a", When: map[string]any{"/x": true}, Do: hook.Ignore}, good}))
}

// A secret that was copied wrongly, or that is a key of another kind, is refused.
func TestRefusesSecretsThatCannotBeOne(t *testing.T) {
	t.Parallel()
	for _, bad := range [][2]string{
		{hook.Standard, ""},
		{hook.Standard, "whsec_"},
		{hook.Standard, "whsec_!!!"},
		{hook.Standard, "whsec_MfKQ"},
		{hook.Standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n"},
		{hook.Standard, strings.Repeat("A", 256)},
		{hook.Stripe, "sk_live_abcdefghijklmnopqrstuv"},
		{hook.Stripe, "whsec_short"},
		{hook.Stripe, ""},
	} {
		err := hook.CheckSecret(bad[0], bad[1])
		require.Error(t, err, bad)
		if bad[1] != "" && bad[1] != "whsec_" {
			require.NotContains(t, err.Error(), bad[1])
		}
	}
	require.NoError(t, hook.CheckSecret(hook.Standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	require.NoError(t, hook.CheckSecret(hook.Standard, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	require.NoError(t, hook.CheckSecret(hook.Stripe, "whsec_test_secret_of_the_gate"))
}
