package caddymodule

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// FuzzCaddyfile parses the blocks of our directives. What parses is the same
// configuration after a round trip through JSON, which is what Caddy runs.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []struct {
		kind  byte
		block string
	}{
		{0, "vendor acme\nsite news\nidentify jwt {\nissuer self\ncookie reader\n}\nidentify http_auth\nrule /articles/{id} GET,HEAD entitled premium {id} {\nauthenticated\nengage a b\n}\nrule / any"},
		{0, "identify jwt {\nissuer https://id.example\naudience x\njwks /etc/keys.json\nclaim email mail\n}\nlink_param t\nlink_cookie_ttl 1h\nshare_param s\nshare_domain a.example b.example\nhosts *.example.com"},
		{0, "deny {\nlogin /login\n}\npreflight {\norigins https://a.example\nmethods GET POST\nheaders X-A\nmax_age 10m\ncredentials\n}\npaths {\nallow empty_segments path_info\ncase_sensitive\njudge current\n}"},
		{0, "deny {\npage {env.X}\n}\nlocal {\nrespond x\n}\nrule /x any {\nlocal\n}\nlink_cookie_ttl {env.TTL}"},
		{1, "store bolt /var/lib/gatefold.db\ncache_size 64MiB\njwks {\nallow 10.0.0.0/8\nca /etc/ca.pem\nstale_if_error 2h\ncooldown 10s\n}"},
		{1, "store redis redis+sentinel://a:1/main {\nuser gate\npassword {env.P}\ntls {\nauthority /etc/ca.pem\ncertificate /c /k\nserver_name x\n}\nprefix gate\npool_size 64\ntimeout 1s\nack_replicas 2 300ms\n}\nsecret {env.S}\nstale_for 45s\nstream_grace 30s\nbackup /b every 6h keep 3"},
		{2, "issuer self\nissuer https://id.example {\naudience api\njwks https://id.example/keys\n}\ncors https://a.example\nplain_http"},
		{0, "rule \"/y\" any\nrule `/x` any"},
		{0, "rule / any {"},
		{1, "store"},
		{2, "}"},
	} {
		f.Add(seed.kind, seed.block)
		if err := parseSeed(seed.kind, seed.block); err != nil && strings.Contains(seed.block, "\n") {
			f.Errorf("%s: %v", seed.block, err)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, block string) {
		parse, again := newBlock(kind), newBlock(kind)
		if parse.UnmarshalCaddyfile(dispenseBlock(block)) != nil {
			return
		}
		written, err := json.Marshal(parse)
		if err != nil {
			t.Fatal(err)
		}
		if err := caddy.StrictUnmarshalJSON(written, again); err != nil {
			t.Fatalf("%s cannot be read: %v", written, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(twice, written) {
			t.Errorf("%s becomes %s (%v)", written, twice, err)
		}
	})
}

func dispenseBlock(block string) *caddyfile.Dispenser {
	return caddyfile.NewTestDispenser("directive {\n" + block + "\n}")
}

func parseSeed(kind byte, block string) error {
	return newBlock(kind).UnmarshalCaddyfile(dispenseBlock(block))
}

func newBlock(kind byte) caddyfile.Unmarshaler {
	switch kind % 3 {
	case 0:
		return new(Handler)
	case 1:
		return new(App)
	default:
		return new(API)
	}
}

// FuzzVerifierID checks that different lists have different ids, by which verified
// tokens are cached.
func FuzzVerifierID(f *testing.F) {
	f.Add("own\x00acme\x00news", "own\x00acmenews\x00")
	f.Add("a\x00b", "ab")
	f.Add("", "\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		left, right := strings.Split(a, "\x00"), strings.Split(b, "\x00")
		if (verifierID(left...) == verifierID(right...)) != slices.Equal(left, right) {
			t.Errorf("%q and %q: the ids are %q and %q", left, right, verifierID(left...), verifierID(right...))
		}
	})
}
