package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	rowStarting        = "first answer, later than plain Caddy's"
	rowMemory          = "anonymous memory above the idle process"
	rowPublishing      = "publishing"
	rowPublishingDelay = "the slowest request meanwhile"
)

func (b *bench) bigDatabase() string { return filepath.Join(b.dir, "big.db") }

// needBigDatabase fills the database of the big site and makes its readers.
func (b *bench) needBigDatabase(ctx context.Context) error {
	o := b.options
	return b.need("filling the database of the big site", func() error {
		if err := fill(ctx, b.bigDatabase(), o.grants, o.rules); err != nil {
			return err
		}
		b.progress("%d grants are stored", o.grants)
		return b.world.makeReaders(b.dir, o.readers, o.rules, 6, 30_000)
	})
}

// needBig starts the gate over the big database, and sends one request of each
// reader.
func (b *bench) needBig(ctx context.Context) error {
	if err := b.needBigDatabase(ctx); err != nil {
		return fmt.Errorf("there is no big site: %w", err)
	}
	return b.need("the big site", func() (err error) {
		if b.big, err = b.startCaddy(b.gate("big", b.bigDatabase(), ""), "/", http.StatusOK); err != nil {
			return err
		}
		if err := b.comeOnce(ctx, b.big); err != nil {
			return err
		}
		return awaitCheck(ctx, b.big)
	})
}

// checkDeadline bounds the check of the big database after the start.
const checkDeadline = 10 * time.Minute

// awaitCheck waits until the gate has read its whole file, as it does after each start: rows
// are of a node that has run for a while.
func awaitCheck(ctx context.Context, gate *process) error {
	const checked = "\ngatefold_store_checked_timestamp_seconds "
	ctx, stop := context.WithTimeout(ctx, checkDeadline)
	defer stop()
	for {
		text, err := readText(ctx, "http://"+gate.admin+"/metrics")
		if err != nil {
			return fmt.Errorf("the check of the big database: %w", err)
		}
		if strings.Contains(text, checked) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the check of the big database: %w", ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

func readText(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// memory measures the memory of the big site beyond that of an idle gate.
func (b *bench) memory(ctx context.Context) error {
	o := b.options
	if err := b.needBig(ctx); err != nil {
		return err
	}
	after, err := b.big.anonymous()
	if err != nil {
		return err
	}
	idle, err := b.startCaddy(b.gate("idle", filepath.Join(b.dir, "idle.db"), gateRules), "/", http.StatusOK)
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // until memory used during the start is released
	before, err := idle.anonymous()
	idle.stop()
	if err != nil {
		return err
	}
	const mib = 1 << 20
	grown := float64(after-before) / mib
	b.table.value(fmt.Sprintf("%s, %d grants stored, %d readers hot", rowMemory, o.grants, o.readers), "MiB",
		medianOf([]float64{grown}), 128, true)
	b.table.context("anonymous memory", fmt.Sprintf("idle %.0f MiB, big site %.0f MiB", float64(before)/mib, float64(after)/mib))
	return nil
}

// comeOnce sends one request of every reader of the big site.
func (b *bench) comeOnce(ctx context.Context, big *process) error {
	began := time.Now()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	const workers = 16
	var all sync.WaitGroup
	failed := make(chan error, workers)
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < len(b.world.tokens); i += workers {
				status, err := get(ctx, client, fmt.Sprintf("%s/section-%d/a", big.url, i%(b.options.rules-1)), b.world.tokens[i])
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("reader %d got status %d", i, status)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	b.table.context("every reader of the big site once", fmt.Sprintf("%.1f s", time.Since(began).Seconds()))
	return <-failed
}

func get(ctx context.Context, client *http.Client, address, token string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// starting measures the time from the start of a server to its first response:
// plain Caddy and the gate over the big database, in turns.
func (b *bench) starting(ctx context.Context) error {
	if err := b.needBigDatabase(ctx); err != nil {
		return err
	}
	var later []float64
	for i := range b.options.restarts {
		var took [2]time.Duration
		for j, s := range []site{{name: fmt.Sprintf("start-plain-%d", i)}, b.gate(fmt.Sprintf("start-gate-%d", i), b.bigDatabase(), "")} {
			p, err := b.launchCaddy(s)
			if err != nil {
				return err
			}
			if took[j], err = p.answers("/", http.StatusOK, nil); err != nil {
				return err
			}
			p.stop()
		}
		later = append(later, float64(took[1]-took[0])/float64(time.Millisecond))
	}
	b.table.value(fmt.Sprintf("%s, with %d grants on disk", rowStarting, b.options.grants), "ms", medianOf(later), 150, true)
	return nil
}

// publishing measures the time to replace all rules of the big site, and the
// longest request during that time.
func (b *bench) publishing(ctx context.Context) error {
	if err := b.needBig(ctx); err != nil {
		return err
	}
	// Two sets in turns: every time all rules but the last change.
	var bodies [2][]byte
	for i, more := range []string{`,"archive"`, ""} {
		var err error
		if bodies[i], err = json.Marshal(wireRules(b.options.rules, more)); err != nil {
			return err
		}
	}
	var took, quiet, meanwhile []float64
	for i := range max(b.options.restarts, 3) {
		for _, work := range []func() error{
			func() error { time.Sleep(300 * time.Millisecond); return nil },
			func() error {
				began := time.Now()
				err := b.big.call(ctx, http.DefaultClient, http.MethodPut, "/gatefold/api/proxy/rules", bodies[i%2], nil)
				took = append(took, float64(time.Since(began))/float64(time.Millisecond))
				return err
			},
		} {
			slowest, err := b.slowestWhile(ctx, work)
			if err != nil {
				return err
			}
			if len(quiet) > len(meanwhile) {
				meanwhile = append(meanwhile, slowest)
			} else {
				quiet = append(quiet, slowest)
			}
		}
	}
	b.table.value(fmt.Sprintf("%s %d rules over the API", rowPublishing, b.options.rules), "ms", medianOf(took), 100, true)
	later := make([]float64, len(meanwhile))
	for i := range later {
		later[i] = meanwhile[i] - quiet[i]
	}
	b.table.value(rowPublishingDelay+", later than in a quiet time", "ms", medianOf(later), 5, true)
	b.table.context("the slowest request of 300 ms without publishing", fmt.Sprintf("%.1f ms", medianOf(quiet).median))
	return nil
}

// wireRule is a rule of the API.
type wireRule struct {
	Path  string `json:"path"`
	Allow string `json:"allow"`
}

// wireRules returns the rules of the big site, with further skus for its sections.
func wireRules(n int, more string) []wireRule {
	rules := make([]wireRule, 0, n)
	for i := range n - 1 {
		rules = append(rules, wireRule{fmt.Sprintf("/section-%d/{publisherContentId}", i), `entitled/{"sku":["premium","{publisherContentId}"` + more + `]}`})
	}
	return append(rules, wireRule{"/", "any"})
}

// slowestWhile returns the longest duration of one reader's requests, in
// milliseconds, while a function runs.
func (b *bench) slowestWhile(ctx context.Context, work func() error) (float64, error) {
	client := new(http.Client)
	var times []time.Duration
	done := make(chan error, 1)
	go func() { done <- work() }()
	for {
		select {
		case err := <-done:
			return float64(slices.Max(times)) / float64(time.Millisecond), err
		default:
		}
		began := time.Now()
		if status, err := get(ctx, client, b.big.url+"/section-1/a", b.world.tokens[0]); err != nil || status != http.StatusOK {
			return 0, fmt.Errorf("status %d, %w", status, err)
		}
		times = append(times, time.Since(began))
	}
}
