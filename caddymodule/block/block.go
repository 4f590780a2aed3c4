// Package block reads the blocks of options of a Caddyfile, and has the types of their
// arguments.
package block

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatefold/gatefold/caddymodule/setting"
)

// An Option is a line of a Caddyfile block, with the block that it may open.
type Option struct {
	Name string
	// Parse reads the option. The dispenser is at the option's name.
	Parse func(d *caddyfile.Dispenser) error
	// Repeatable options may be given more than once.
	Repeatable bool
	// Retired options only fail. Errors do not list them among the known ones.
	Retired bool
}

// Repeated returns the option as a repeatable one.
func (o Option) Repeated() Option {
	o.Repeatable = true
	return o
}

// Set holds the options of a block that are implemented in several files.
// Each file registers its own in an init function.
type Set[T any] []func(target *T) []Option

// Register adds options, which set fields of the target.
func (s *Set[T]) Register(options func(target *T) []Option) {
	*s = append(*s, options)
}

// Of returns all options in the order of registration.
func (s Set[T]) Of(target *T) (all []Option) {
	for _, options := range s {
		all = append(all, options(target)...)
	}
	return all
}

// Parse reads a block of options, which may be absent. The arguments before
// the block must be consumed; errors name the block unless its name is empty.
func Parse(d *caddyfile.Dispenser, block string, options ...Option) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	if block != "" {
		block += ": "
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(options, func(o Option) bool { return o.Name == name })
		switch {
		case i < 0:
			return d.Errf("%sunknown option %q; %s", block, name, known(options))
		case seen[name] && !options[i].Repeatable:
			return d.Errf("%s%s is given twice", block, name)
		}
		seen[name] = true
		if err := options[i].Parse(d); err != nil {
			return err
		}
	}
	return nil
}

func known(options []Option) string {
	var names []string
	for _, option := range options {
		if !option.Retired {
			names = append(names, option.Name)
		}
	}
	if names == nil {
		return "it takes none"
	}
	return "known are " + strings.Join(names, ", ")
}

// Renamed refuses the former name of an option.
func Renamed(name, now string) Option {
	return Option{Name: name, Retired: true, Parse: func(d *caddyfile.Dispenser) error {
		return d.Errf("%s is now %s", name, now)
	}}
}

// Values is an option with at least one argument. It passes each to set, whose
// error completes `<name>: "<value>" …`.
func Values(name string, set func(value string) error) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		values := d.RemainingArgs()
		if len(values) == 0 {
			return d.ArgErr()
		}
		for _, value := range values {
			if err := set(value); err != nil {
				return d.Errf("%s: %q %v", name, value, err)
			}
		}
		return nil
	}}
}

// List is an option with at least one argument, each of which passes the check
// unless that is nil or the argument has a placeholder, whose value is checked when the
// module is provisioned.
func List(name string, to *[]string, check func(value string) error) Option {
	return Values(name, func(value string) error {
		*to = append(*to, value)
		if check == nil || setting.Has(value) {
			return nil
		}
		return check(value)
	})
}

// Value is an option with one argument, see Values.
func Value(name string, set func(value string) error) Option {
	values := Values(name, set)
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		if d.CountRemainingArgs() != 1 {
			return d.ArgErr()
		}
		return values.Parse(d)
	}}
}

// Text is an option with one argument of any text.
func Text(name string, to *string) Option {
	return Value(name, func(value string) error {
		*to = value
		return nil
	})
}

// Match is an option with one argument that matches a pattern, which want
// describes, or has a placeholder, see List.
func Match(name string, to *string, pattern *regexp.Regexp, want string) Option {
	return Value(name, func(value string) error {
		if !setting.Has(value) && !pattern.MatchString(value) {
			return errors.New("must be " + want)
		}
		*to = value
		return nil
	})
}

// Count is an option with one argument, a number above zero.
func Count(name string, to *setting.Count) Option { return Value(name, to.Set) }

// Duration is an option with one argument, a duration within bounds. Without
// a lower bound it must be above zero; a zero most is no upper bound.
func Duration(name string, to *setting.Duration, least, most time.Duration) Option {
	return Value(name, func(value string) error {
		err := to.Set(value)
		if to.Deferred() || err == nil && to.V >= least && (most == 0 || to.V <= most) {
			return nil
		}
		return errDuration(least, most)
	})
}

// Secret is an option with one argument, a placeholder for a secret. Its error
// does not repeat the argument, which may be the secret itself.
func Secret(name string, to *string) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		if !d.AllArgs(to) {
			return d.ArgErr()
		}
		if !setting.IsSecret(*to) {
			return d.Errf("%s: write {env.NAME} or {file./path}: a configuration must not hold the secret itself", name)
		}
		return nil
	}}
}

// Flag is an option without an argument.
func Flag(name string, to *bool) Option {
	return Option{Name: name, Parse: func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*to = true
		return nil
	}}
}

// errDuration is the error of a duration outside of the bounds of Duration.
func errDuration(least, most time.Duration) error {
	bounds, examples := "above zero", "500ms, 30s or 24h"
	switch {
	case most > 0:
		bounds = fmt.Sprintf("from %v to %v", least, most)
	case least > 0:
		bounds = fmt.Sprintf("of at least %v", least)
	}
	if least >= time.Second {
		examples = "30s or 24h"
	}
	return fmt.Errorf("must be a duration %s, such as %s", bounds, examples)
}
