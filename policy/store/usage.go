package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatefold/gatefold/policy/store/engine"
)

// Usage is how much a contract was used in a month.
type Usage struct {
	// Month is a month in UTC, such as 2027-01.
	Month string `json:"-"`
	// Pages counts the requests that the contract allowed, Readers those who made them, and
	// Refused the requests of its readers that nothing allowed.
	Pages   int64 `json:"pages,omitempty"`
	Readers int64 `json:"readers,omitempty"`
	Refused int64 `json:"refused,omitempty"`
}

// ContractUse is what is added to the usage of a contract in a month.
type ContractUse struct {
	Contract, Month string
	Pages, Refused  int64
	// Readers name the readers of the pages by keyed hashes, as texts.
	Readers []string
}

const (
	// MaxUses bounds the contracts and readers of one RecordUsage together.
	MaxUses = 500
	// usageKept is how many months the usage of a contract is kept besides the current one,
	// as COUNTER R5.1 (section 5.4) asks of reports: the current year and the two before it.
	usageKept = 37
	// usageReadersKept is how long after the end of a month its readers are known, so that
	// each is counted once.
	usageReadersKept = 62 * 24 * time.Hour
	// usageTries bounds how often records are read again that other nodes change.
	usageTries = 8
	// MonthLayout is the layout of a month for package time.
	MonthLayout = "2006-01"
)

func usageKey(contract, month string) []byte { return key(prefixUsage, contract, month) }

func usageReaderKey(contract, month, reader string) []byte {
	return key(prefixUsage, contract, month, reader)
}

// licensedContract is the part of a contract that says whether its usage is counted.
type licensedContract struct {
	Seats int       `json:"seats"`
	Site  *struct{} `json:"site"`
}

// RecordUsage adds to the usage of a vendor's contracts, in one atomic step: all is counted,
// or nothing is. A reader is counted once in a month, whichever nodes record them. Contracts
// with neither seats nor a site licence, and those that do not exist, are passed over. No
// version is bumped, as no decision depends on usage.
func (s *Store) RecordUsage(ctx context.Context, vendor string, uses []ContractUse) (err error) {
	size := len(uses)
	for i := range uses {
		size += len(uses[i].Readers)
	}
	if size > MaxUses {
		return &FieldError{"uses", "are too many at once"}
	}
	for range usageTries {
		if err = s.recordUsage(ctx, vendor, uses); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return err
}

func (s *Store) recordUsage(ctx context.Context, vendor string, uses []ContractUse) error {
	batch := new(engine.Batch)
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		*batch = engine.Batch{}
		var places [][]byte
		for i := range uses {
			use := &uses[i]
			places = append(places, key(prefixContract, use.Contract), usageKey(use.Contract, use.Month))
			for _, reader := range use.Readers {
				places = append(places, usageReaderKey(use.Contract, use.Month, reader))
			}
		}
		if err := engine.Prefetch(snapshot, places...); err != nil {
			return err
		}
		for i := range uses {
			if err := uses[i].add(snapshot, batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(batch.Puts) == 0 {
		return err
	}
	_, err = s.engine.Commit(ctx, vendor, batch)
	return conflict(err)
}

// add adds the writes of a use to a batch. The record of the month is checked, so nodes that
// count one reader at once conflict.
func (u *ContractUse) add(snapshot engine.Snapshot, batch *engine.Batch) error {
	var contract licensedContract
	if _, err := getIn(snapshot, key(prefixContract, u.Contract), &contract); err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	}
	if contract.Seats == 0 && contract.Site == nil {
		return nil
	}
	began, err := time.Parse(MonthLayout, u.Month)
	if err != nil {
		return fmt.Errorf("the month of a use: %w", err)
	}
	var usage Usage
	k := usageKey(u.Contract, u.Month)
	stored, err := getIn(snapshot, k, &usage)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	usage.Pages, usage.Refused = usage.Pages+u.Pages, usage.Refused+u.Refused
	for _, reader := range u.Readers {
		marker := usageReaderKey(u.Contract, u.Month, reader)
		known, err := snapshot.Get(marker)
		if err != nil {
			return err
		}
		if known == nil {
			usage.Readers++
			batch.Puts = append(batch.Puts, engine.Put{Key: marker, Value: []byte{1}, Expires: began.AddDate(0, 1, 0).Add(usageReadersKept)})
		}
	}
	value, err := encode(usage)
	if err != nil || bytes.Equal(value, stored) {
		return err
	}
	batch.Checks = append(batch.Checks, engine.Check{Key: k, Value: stored})
	batch.Puts = append(batch.Puts, engine.Put{Key: k, Value: value, Expires: began.AddDate(0, usageKept+1, 0)})
	return nil
}

// MaxUsageMonths bounds the months of a report.
const MaxUsageMonths = usageKept + 1

// ContractUsage returns the usage of a contract in each month from the first to the last,
// at most MaxUsageMonths. It returns ErrNotFound when there is no such contract.
func (s *Store) ContractUsage(ctx context.Context, vendor, contract string, first, last time.Time) ([]Usage, error) {
	var list []Usage
	err := s.engine.View(ctx, vendor, func(snapshot engine.Snapshot) error {
		list = nil
		at := key(prefixContract, contract)
		places := [][]byte{at}
		for month := first; !month.After(last) && len(list) < MaxUsageMonths; month = month.AddDate(0, 1, 0) {
			list = append(list, Usage{Month: month.Format(MonthLayout)})
			places = append(places, usageKey(contract, month.Format(MonthLayout)))
		}
		if err := engine.Prefetch(snapshot, places...); err != nil {
			return err
		}
		if stored, err := snapshot.Get(at); err != nil || stored == nil {
			return errors.Join(err, missing(stored == nil && err == nil))
		}
		for i := range list {
			if _, err := getIn(snapshot, usageKey(contract, list[i].Month), &list[i]); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return list, err
}

func missing(absent bool) error {
	if absent {
		return ErrNotFound
	}
	return nil
}
