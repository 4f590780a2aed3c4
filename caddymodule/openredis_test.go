package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatefold/gatefold/caddymodule/openstore"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/keys/keystest"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/redisengine"
	"github.com/gatefold/gatefold/policy/store/redisengine/redistest"
)

// redisSite is a site whose records are in a Redis. Its verbs are: admin, store and
// further options, site port.
const redisSite = "{\n\tadmin %s\n\tauto_https off\n\tgatefold {\n\t\t%s\n\t}\n}\n\nhttp://127.0.0.1:%s {\n\tgatefold {\n\t\trule / any\n\t}\n\trespond page\n}\n"

// The grammar of `store redis`.
func TestRedisGrammar(t *testing.T) {
	config, err := adapt(`{
	gatefold {
		store redis redis+sentinel://a:1/main redis+sentinel://b:1/main {
			user gate
			password {env.REDIS_PASSWORD}
			sentinel_password {file./run/secrets/sentinel}
			tls {
				authority /etc/ca.pem
				certificate /etc/cert.pem /etc/key.pem
				server_name redis.example.com
			}
			prefix gate
			pool_size 64
			timeout 1s
			dial_timeout 2s
			redeem_timeout 300ms
			ack_replicas 2 300ms
		}
		secret {env.GATEFOLD_SECRET}
		stale_for 45s
	}
}
`)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Apps struct {
			Gatefold json.RawMessage `json:"gatefold"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &got); err != nil {
		t.Fatal(err)
	}
	const want = `{"store":{"engine":"redis","urls":["redis+sentinel://a:1/main","redis+sentinel://b:1/main"],"user":"gate",` +
		`"password":"{env.REDIS_PASSWORD}","sentinel_password":"{file./run/secrets/sentinel}",` +
		`"tls":{"authority":"/etc/ca.pem","certificate":"/etc/cert.pem","key":"/etc/key.pem","server_name":"redis.example.com"},` +
		`"prefix":"gate","pool_size":64,"timeout":1000000000,"dial_timeout":2000000000,"redeem_timeout":300000000,"ack_replicas":2,"ack_timeout":300000000},` +
		`"secret":"{env.GATEFOLD_SECRET}","stale_for":45000000000}`
	if app, _, _ := strings.Cut(string(got.Apps.Gatefold), `,"places":`); app+"}" != want {
		t.Errorf("the app is\n%s, want\n%s", got.Apps.Gatefold, want)
	}
}

const (
	testSecret   = "a secret of more than sixteen bytes"
	testPassword = "correct-horse-battery"
)

// A Redis that cannot be used fails the load with its cause, and the error contains no
// secret.
func TestUnusableRedis(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	t.Setenv("GATEFOLD_TEST_PASSWORD", testPassword)
	t.Setenv("GATEFOLD_TEST_WRONG", "hunter2")
	closed := redistest.New(t, "--requirepass", testPassword)
	closed.Password = testPassword
	closed.Start()
	encrypted, _ := redistest.StartTLS(t)
	notPEM := filepath.Join(t.TempDir(), "x.pem")
	if err := os.WriteFile(notPEM, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEFOLD_TEST_URL", "redis://:hunter2@"+closed.Address())
	const secret = "\nsecret {env.GATEFOLD_TEST_SECRET}"
	for name, test := range map[string]struct{ store, want string }{
		"no secret":             {"store redis " + closed.URL(), "a secret is required"},
		"no password":           {"store redis " + closed.URL() + secret, "user or password is wrong or missing"},
		"wrong password":        {"store redis " + closed.URL() + " {\npassword {env.GATEFOLD_TEST_WRONG}\n}" + secret, "user or password is wrong"},
		"wrong password in URL": {"store redis {env.GATEFOLD_TEST_URL}" + secret, "user or password is wrong"},
		"password that is none": {"store redis " + closed.URL() + " {\npassword {env.GATEFOLD_TEST_NONE}\n}" + secret, "{env.GATEFOLD_TEST_NONE} is not set"},
		"unknown authority":     {"store redis rediss://" + encrypted.Address() + secret, "TLS failed"},
		"authority of nothing":  {"store redis rediss://" + encrypted.Address() + " {\ntls {\nauthority " + notPEM + "\n}\n}" + secret, "no certificate in PEM"},
		"tls without tls":       {"store redis " + closed.URL() + " {\ntls {\nserver_name x\n}\n}" + secret, "rediss://"},
		"scheme":                {"store redis http://" + closed.Address() + secret, "unknown scheme"},
		"two of one":            {"store redis redis://a redis://b" + secret, "a single server has one URL"},
		"slow replicas":         {"store redis " + closed.URL() + " {\nack_replicas 1 5s\n}" + secret, "shorter than the timeout"},
		"stale_for of bolt":     {"store bolt /tmp/x.db\nstale_for 10s", "always reachable"},
		"stale_for too long":    {"store redis " + closed.URL() + secret + "\nstale_for 48h", "at most 24h"},
	} {
		t.Run(name, func(t *testing.T) {
			err := load(fmt.Sprintf(redisSite, "off", test.store, keystest.FreePort(t)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q", err, test.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), testPassword)) {
				t.Errorf("the error repeats a secret: %v", err)
			}
			openstore.Pool.Range(func(key, _ any) bool {
				t.Errorf("the failed load left %v open", key)
				return true
			})
		})
	}
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
}

// With a password and TLS the admin endpoint does not show the password, and the caches
// survive a reload.
func TestRedisWithPasswordAndTLS(t *testing.T) {
	t.Setenv("GATEFOLD_TEST_SECRET", testSecret)
	server, authority := redistest.StartTLS(t)
	server.Do("config", "set", "requirepass", testPassword)
	server.Password = testPassword
	passwordFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwordFile, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin, site := "127.0.0.1:"+keystest.FreePort(t), keystest.FreePort(t)
	config := fmt.Sprintf(redisSite, admin, "store redis rediss://"+server.Address()+" {\npassword {file."+passwordFile+"}\ntls {\nauthority "+authority+"\n}\n}\nsecret {env.GATEFOLD_TEST_SECRET}", site)
	if err := load(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	stores := func() (all []*openstore.Shared) {
		openstore.Pool.Range(func(_, value any) bool {
			all = append(all, value.(*openstore.Shared))
			return true
		})
		return all
	}
	before := stores()
	if err := load(config + "\n# again\n"); err != nil {
		t.Fatal(err)
	}
	if after := stores(); len(before) != 1 || len(after) != 1 || before[0] != after[0] {
		t.Errorf("the store before the reload is %v, after it %v", before, after)
	}
	for path, want := range map[string]string{
		"/config/":         `"password":"{file.`,
		"/gatefold/health": `"state":"following"`,
		"/metrics":         `gatefold_store_state{state="following"} 1`,
	} {
		response, err := http.Get("http://" + admin + path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		body := string(data)
		if !strings.Contains(body, want) || strings.Contains(body, testPassword) || strings.Contains(body, testSecret) {
			t.Errorf("%s says %s, want %q and no secret", path, body, want)
		}
	}
}

// Another node removes a grant, which cuts a stream on this node, and changes the
// rules, which this node applies.
func TestRedisCutsAStreamFromAnotherNode(t *testing.T) {
	s := newRedisSite(t, "")
	options, err := redisengine.ParseURLs([]string{s.redis.URL()})
	if err != nil {
		t.Fatal(err)
	}
	backend, err := redisengine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	other := store.New(backend, new(policy.Versions), now)
	rules := func(sku string) {
		t.Helper()
		rule := policy.Rule{Rank: 1, Path: "/", Forward: true, Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{"sku": json.RawMessage(`["` + sku + `"]`)}}}
		if err := other.As(store.Actor{}).ReplaceRules(t.Context(), defaultVendor, defaultVendor, []policy.Rule{rule}, policy.StandardOperators()); err != nil {
			t.Fatal(err)
		}
	}
	bearer := []string{"Authorization", "Bearer " + s.reader(keys.ReaderClaims{UserID: "ada"})}
	status := func() int { return s.get("/page", bearer...).StatusCode }
	if got := status(); got != http.StatusForbidden {
		t.Fatalf("a site without rules answers %d", got)
	}
	rules("premium")
	grant, err := other.As(store.Actor{}).CreateGrant(t.Context(), defaultVendor, store.DefaultList, store.Grant{UserID: "ada", SKU: "premium"})
	if err != nil {
		t.Fatal(err)
	}
	s.waitFor("the other node's rules and grant count", func() bool { return status() == http.StatusOK })
	rules("other")
	s.waitFor("the other node's next rules count", func() bool { return status() == http.StatusForbidden })
	rules("premium")
	s.waitFor("the first rules count again", func() bool { return status() == http.StatusOK })

	_, ended := s.open("/events", bearer...)
	if err := other.As(store.Actor{}).DeleteGrant(t.Context(), defaultVendor, store.DefaultList, grant.ID, nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the stream goes on")
	}
	t.Logf("cut after %v", time.Since(began))
}
