package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gatefold/gatefold/policy/store/engine"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
	"github.com/gatefold/gatefold/policy/store/redisengine"
)

// copyCommand copies one store into another.
func copyCommand() *cobra.Command {
	var redis StoreConfig
	var side StoreTLS
	var replace bool
	cmd := &cobra.Command{
		Use: "copy <from> <to>", Short: "Copies all records from one store into another, and compares them", Args: cobra.ExactArgs(2), SilenceUsage: true,
		Long: `
Copies all records from one store into another, and then compares all of both.

A store is the file of an embedded database, or the URLs of a Redis with commas
between them; {env.NAME} or {file./path} stand for one that holds a password. Stop
the servers that use either. A copy that was broken off goes on where it was when
it is begun again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if side != (StoreTLS{}) {
				redis.TLS = &side
			}
			return copyStore(cmd.Context(), cmd.OutOrStdout(), redis, args[0], args[1], replace)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&replace, "replace", false, "remove from the target what the source does not have")
	flags.StringVar(&redis.Prefix, "prefix", "", "what begins the names of all keys in the Redis (default gatefold)")
	flags.StringVar(&side.Authority, "authority", "", "file with the certificates of the authorities to trust")
	flags.StringVar(&side.ServerName, "server-name", "", "name that the certificate of the Redis must have")
	return cmd
}

func copyStore(ctx context.Context, out io.Writer, redis StoreConfig, from, to string, replace bool) (err error) {
	if from == to {
		return errors.New("the two stores are the same")
	}
	source, err := openForCopy(ctx, redis, from, true)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := openForCopy(ctx, redis, to, false)
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	copied, err := store.Copy(ctx, source, target, store.CopyOptions{
		Replace: replace,
		Progress: func(partition string, seen, written int64) {
			if seen%100_000 == 0 && seen > 0 {
				fmt.Fprintf(out, "%s: %d entries, %d of them written\n", printable(partition), seen, written)
			}
		},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d entries of %d partitions are the same in both: %d written, %d removed; SHA-256 %s\n",
		copied.Entries, copied.Partitions, copied.Written, copied.Removed, copied.Digest)
	return nil
}

// openForCopy opens a store that a command line names. A source must be there.
func openForCopy(ctx context.Context, redis StoreConfig, name string, source bool) (engine.Dumper, error) {
	if !isSecretPlaceholder(name) && !strings.Contains(name, "://") {
		if _, err := os.Stat(name); err != nil && source {
			return nil, err
		}
		return boltengine.Open(name)
	}
	if isSecretPlaceholder(name) {
		var err error
		if name, err = readSecret("url", name); err != nil {
			return nil, err
		}
	}
	options, err := redisengine.ParseURLs(strings.Split(name, ","))
	if err != nil {
		return nil, err
	}
	options.Prefix = redis.Prefix
	if redis.TLS != nil {
		if options.TLS == nil {
			return nil, errors.New("--authority and --server-name are for rediss://")
		}
		if err := redis.TLS.apply(options.TLS); err != nil {
			return nil, err
		}
	}
	backend, err := redisengine.New(options)
	if err != nil {
		return nil, err
	}
	if _, err := backend.Inspect(ctx); err != nil {
		return nil, errors.Join(err, backend.Close())
	}
	return backend, nil
}
