package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/errgroup"

	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

const (
	vendor        = "default"
	tokenIssuer   = "https://id.bench.example" //nolint:gosec // a name, no credential
	tokenAudience = "news"
)

// world is the readers, their credentials and their grants.
type world struct {
	keyFile string // the issuer's public keys
	signer  jose.Signer
	tokens  []string // of the readers of the big site, by their number
	lists   []string // files with those readers' requests
	one     string   // the token of one reader of the small site
	cookie  string   // of a link to a page there; see needCookie
}

func newWorld(dir string) (*world, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: key.Public(), KeyID: "bench", Algorithm: string(jose.ES256), Use: "sig"}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk}})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	w := &world{keyFile: filepath.Join(dir, "keys.json")}
	if err := os.WriteFile(w.keyFile, text, 0o600); err != nil {
		return nil, err
	}
	w.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "bench"}},
		new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	w.one, err = w.token("reader-one")
	return w, err
}

func (w *world) token(user string) (string, error) {
	now := time.Now()
	return jwt.Signed(w.signer).Claims(jwt.Claims{
		Issuer: tokenIssuer, Audience: jwt.Audience{tokenAudience}, Subject: user,
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(6 * time.Hour)),
	}).Claims(map[string]any{"email": user + "@reader.example", "email_verified": true}).Serialize()
}

// reader is the header of the one reader.
func (w *world) reader() http.Header {
	return http.Header{"Authorization": {"Bearer " + w.one}}
}

func userOf(number int) string { return fmt.Sprintf("reader-%07d", number) }

// fill makes a database with grants for a number of readers and a number of rules;
// without rules, the site has its own.
func fill(ctx context.Context, file string, grants, rules int, others ...string) error {
	// A server refuses a database with records whose secret is missing.
	if err := os.WriteFile(file+".secret", []byte("the secret of one measurement, which keeps nothing\n"), 0o600); err != nil {
		return err
	}
	backend, err := boltengine.Open(file)
	if err != nil {
		return err
	}
	defer backend.Close()
	whole := store.New(backend, new(policy.Versions), time.Now)
	records := whole.As(store.Actor{})
	for _, user := range others {
		if _, err := records.CreateGrant(ctx, vendor, store.DefaultList, store.Grant{UserID: user, SKU: "premium"}); err != nil {
			return err
		}
	}
	for at := 0; at < grants; at += store.MaxImportRows {
		batch := store.ImportBatch{ID: "bench", Position: int64(at)}
		for i := at; i < min(at+store.MaxImportRows, grants); i++ {
			batch.Rows = append(batch.Rows, store.ImportRow{Grant: store.Grant{UserID: userOf(i), SKU: "premium"}})
		}
		if _, err := records.ImportGrants(ctx, vendor, store.DefaultList, batch); err != nil {
			return err
		}
		if at == 0 {
			// As a node does at its start. Without it, the gate would build the indexes of a
			// million grants while it is measured.
			if err := whole.BuildIndexes(ctx); err != nil {
				return err
			}
		}
	}
	if rules == 0 {
		return nil
	}
	if err := trustMany(ctx, records, trustedBeside(rules)); err != nil {
		return err
	}
	return records.ReplaceRules(ctx, vendor, vendor, manyRules(rules), policy.StandardOperators())
}

// trustedBeside is the number of trusted domains of a site: that of its rules.
func trustedBeside(rules int) int { return min(rules, store.MaxDomains) }

// trustMany trusts many publisher domains, by pinned keys.
func trustMany(ctx context.Context, records store.Writer, n int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	pinned := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	var all errgroup.Group
	all.SetLimit(128) // who share one fsync
	for i := range n {
		all.Go(func() error {
			_, err := records.PutDomain(ctx, vendor, store.Domain{Domain: fmt.Sprintf("partner-%d.example.org", i), SigningKeyPEM: pinned})
			return err
		})
	}
	return all.Wait()
}

// manyRules returns the rules of a large site: one for each section, and the rest.
func manyRules(n int) []policy.Rule {
	rules := make([]policy.Rule, 0, n)
	for i := range n - 1 {
		rules = append(rules, policy.Rule{
			Rank: i + 1, Path: fmt.Sprintf("/section-%d/{publisherContentId}", i), Forward: true,
			Allow: policy.Allow{Operator: "entitled", Arguments: policy.Arguments{
				"sku": json.RawMessage(`["premium","{publisherContentId}"]`),
			}},
		})
	}
	return append(rules, policy.Rule{Rank: n, Path: "/", Forward: true, Allow: policy.Allow{Operator: "any"}})
}

// makeReaders signs the tokens of the readers of the big site, and writes lists of
// their requests: readers by Zipf's law, pages at random.
func (w *world) makeReaders(dir string, readers, rules, lists, perList int) error {
	w.tokens = make([]string, readers)
	for i := range w.tokens {
		var err error
		if w.tokens[i], err = w.token(userOf(i)); err != nil {
			return err
		}
	}
	random := mathrand.New(mathrand.NewPCG(7, 7)) //nolint:gosec // the same requests in every run
	zipf := newZipf(random, readers)
	for l := range lists {
		file, err := os.Create(filepath.Join(dir, fmt.Sprintf("list-%d", l)))
		if err != nil {
			return err
		}
		to := bufio.NewWriter(file)
		for range perList {
			fmt.Fprintf(to, "/section-%d/article-%d %s\n", random.IntN(rules-1), random.IntN(1000), w.tokens[zipf()])
		}
		if err := errors.Join(to.Flush(), file.Close()); err != nil {
			return err
		}
		w.lists = append(w.lists, file.Name())
	}
	return nil
}

// newZipf returns numbers below n by Zipf's law with the exponent 1.
func newZipf(random *mathrand.Rand, n int) func() int {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += 1 / float64(i+1)
		sums[i] = sum
	}
	return func() int {
		at := random.Float64() * sum
		low, high := 0, n-1
		for low < high {
			if middle := (low + high) / 2; sums[middle] < at {
				low = middle + 1
			} else {
				high = middle
			}
		}
		return low
	}
}

// forged writes a list of well-formed tokens with a known key id, valid claims and
// another key's signature.
func (w *world) forged(dir string, n, rules int) (string, error) {
	other, err := newWorld(filepath.Join(dir, "forger"))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for i := range n {
		token, err := other.token(userOf(i))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "/section-%d/article %s\n", i%(rules-1), token)
	}
	file := filepath.Join(dir, "list-forged")
	return file, os.WriteFile(file, []byte(text.String()), 0o600)
}

// linkCookie makes a signed link at a running gate, opens it like a feed reader,
// and returns the link cookie.
func (b *bench) linkCookie(p *process, path string) (string, error) {
	cmd := exec.Command(b.gatefold, "link", "create", p.url+path, "--address", p.admin) //nolint:noctx,gosec // it ends by itself, and its arguments are our own
	cmd.Dir, cmd.Env = b.dir, p.cmd.Env
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("making a link: %w", err)
	}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, strings.TrimSpace(string(output)), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	for _, cookie := range response.Cookies() {
		if response.StatusCode == http.StatusOK && cookie.MaxAge > 0 {
			return cookie.Name + "=" + cookie.Value, nil
		}
	}
	return "", fmt.Errorf("the link gave no cookie: status %d", response.StatusCode)
}
