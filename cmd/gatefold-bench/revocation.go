package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	rowRevokedThere = "revoked at one node to denied at another"
	rowRevokedHere  = "requests that a node allowed after it had acknowledged a revocation"
	// revokedPage is the page that the grant opens.
	revokedPage = "/articles/revoked"
	// noticedWithin bounds the wait for a node to deny.
	noticedWithin = 10 * time.Second
)

// revocation repeatedly removes a grant at one of two nodes that share a Redis,
// and measures the time until the other denies the reader.
func (b *bench) revocation(ctx context.Context) error {
	here, there, err := b.nodes(ctx)
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: noticedWithin}
	var late []float64
	allowed := 0
	for range b.options.revocations {
		grant, err := here.subscribe(ctx, client)
		if err != nil {
			return err
		}
		for _, node := range []*process{here, there} {
			if _, err := b.untilStatus(ctx, client, node, http.StatusOK); err != nil {
				return err
			}
		}
		denied := make(chan outcome, 1)
		go func() {
			at, err := b.untilStatus(ctx, client, there, http.StatusForbidden)
			denied <- outcome{at, err}
		}()
		if err := here.call(ctx, client, http.MethodDelete, grantsPath+"/"+grant, nil, nil); err != nil {
			return err
		}
		acknowledged := time.Now()
		status, err := get(ctx, client, here.url+revokedPage, b.world.one)
		if err != nil {
			return err
		}
		if status == http.StatusOK {
			allowed++
		}
		noticed := <-denied
		if noticed.err != nil {
			return noticed.err
		}
		late = append(late, max(float64(noticed.at.Sub(acknowledged))/float64(time.Millisecond), 0))
	}
	b.table.value(rowRevokedThere+", p99", "ms", quantileOf(late, 0.99), 50, true)
	b.table.context(rowRevokedThere+", median", fmt.Sprintf("%.1f ms after the first one acknowledged", medianOf(late).median))
	b.table.none(rowRevokedHere, allowed, b.options.revocations)
	return nil
}

type outcome struct {
	at  time.Time
	err error
}

// nodes starts two gates over the Redis.
func (b *bench) nodes(ctx context.Context) (here, there *process, err error) {
	address, err := b.needRedis(ctx)
	if err != nil {
		return nil, nil, err
	}
	secret := filepath.Join(b.dir, "secret")
	if err := os.WriteFile(secret, []byte("the same secret on all nodes of the measurement\n"), 0o600); err != nil {
		return nil, nil, err
	}
	for i, node := range []**process{&here, &there} {
		s := b.gate(fmt.Sprintf("node-%d", i), "", gateRules)
		s.global = fmt.Sprintf("gatefold {\n\t\tstore redis redis://%s\n\t\tsecret {file.%s}\n\t}", address, secret)
		if *node, err = b.startCaddy(s, "/", http.StatusOK); err != nil {
			return nil, nil, err
		}
	}
	return here, there, nil
}

const grantsPath = "/gatefold/management/access-lists/src_default/grants"

// subscribe grants the reader the page's sku.
func (p *process) subscribe(ctx context.Context, client *http.Client) (grant string, err error) {
	var made struct {
		ID string `json:"id"`
	}
	err = p.call(ctx, client, http.MethodPost, grantsPath, []byte(`{"userId":"reader-one","sku":"premium"}`), &made)
	if err == nil && made.ID == "" {
		err = fmt.Errorf("%s made a grant and does not name it", p.name)
	}
	return made.ID, err
}

// untilStatus requests the page until the response has a status, and returns the
// time of that response.
func (b *bench) untilStatus(ctx context.Context, client *http.Client, node *process, want int) (time.Time, error) {
	for began := time.Now(); ; {
		status, err := get(ctx, client, node.url+revokedPage, b.world.one)
		at := time.Now()
		switch {
		case err != nil:
			return at, err
		case status == want:
			return at, nil
		case at.Sub(began) > noticedWithin:
			return at, fmt.Errorf("%s answers %d for %v, not %d", node.name, status, noticedWithin, want)
		}
	}
}

// call calls the management API of a gate and decodes the response.
func (p *process) call(ctx context.Context, client *http.Client, method, path string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+p.admin+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case response.StatusCode/100 != 2:
		return fmt.Errorf("the API answers %s: %.1000s", response.Status, text)
	case into != nil:
		return json.Unmarshal(text, into)
	}
	return nil
}
