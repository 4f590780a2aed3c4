package boltengine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
)

// checker checks the pages of a database file. It reads the file itself, with bounds for
// everything that a page says: bbolt panics at damaged pages, and its own check runs in
// a goroutine where a fault of memory ends the process.
//
// A page begins with its number (8 bytes), type (2), number of elements (2) and number
// of further pages (4). Elements have 16 bytes: of a branch the position of a key, its
// length (4 each) and a page (8); of a leaf a flag, the position of a key, its length and
// the length of the value behind it (4 each). Numbers are in the machine's byte order.
type checker struct {
	file     *os.File
	pageSize uint64
	uses     []pageUse // by number
	findings []error
	// record checks the value of an entry of a partition; it may be nil. Within are the
	// names of the buckets that the checked page is in.
	record RecordCheck
	within []string
	// A check in slices reads some pages and does not follow buckets with pages of their own:
	// left is the number of pages left to read, and shallow reports such a check. It begins
	// at the key after, and next is where the one after it begins; nil at the end.
	shallow     bool
	left        int
	after, next []byte
}

// RecordCheck returns an error if a value of a partition is not what is stored at its key.
type RecordCheck func(partition string, key, value []byte) error

// pageUse is what a page is used for.
type pageUse byte

const (
	unused pageUse = iota
	inTree
	free
)

const (
	pageHeader, elementSize, bucketHeader = 16, 16, 16
	branchPage, leafPage, freelistPage    = 0x01, 0x02, 0x10
	bucketFlag                            = 0x01
	// noFreelist is the number of the freelist's page when there is none.
	noFreelist = ^uint64(0)
	// maxTree bounds the depth of nested pages.
	maxTree = 64
)

// checkFile returns the damage of a file's pages and records. It ends at maxFindings.
func checkFile(file *os.File, pageSize int, transaction int, record RecordCheck) error {
	c := &checker{file: file, pageSize: uint64(pageSize), record: record}
	// The newest of the two meta pages has the root bucket (page, sequence), the
	// freelist's page, and the number of pages. bbolt verified its checksum.
	meta, err := c.readAt(uint64(transaction%2)*c.pageSize, pageHeader+64)
	if err != nil {
		return err
	}
	number := func(at int) uint64 { return binary.NativeEndian.Uint64(meta[pageHeader+at:]) }
	root, freelist, pages := number(16), number(32), number(40)
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if pages < 2 || pages > uint64(info.Size())/c.pageSize {
		return fmt.Errorf("%w: it has %d bytes for %d pages", ErrDamaged, info.Size(), pages)
	}
	if err := c.checkMetas(); err != nil {
		return err
	}
	c.checkUses(root, freelist, pages)
	return c.damage()
}

// checkUses checks all pages, and that each is either used once or free.
func (c *checker) checkUses(root, freelist, pages uint64) {
	c.uses = make([]pageUse, pages)
	c.uses[0], c.uses[1] = inTree, inTree
	if freelist != noFreelist {
		c.checkFreelist(freelist)
	}
	c.checkTree(root, nil, nil, 0)
	for number, use := range c.uses {
		if use == unused {
			c.find("page %d is neither used nor free", number)
		}
	}
}

// damage returns the findings as an error.
func (c *checker) damage() error {
	if len(c.findings) > 0 {
		return fmt.Errorf("%w: %w", ErrDamaged, errors.Join(c.findings...))
	}
	return nil
}

// checkMetas checks the checksums of both meta pages (FNV-1a over the 56 bytes before
// it). bbolt silently reads the state before the last write if the newer one is damaged.
func (c *checker) checkMetas() error {
	for number := range uint64(2) {
		meta, err := c.readAt(number*c.pageSize, pageHeader+64)
		if err != nil {
			return err
		}
		sum := fnv.New64a()
		_, _ = sum.Write(meta[pageHeader : pageHeader+56])
		if sum.Sum64() != binary.NativeEndian.Uint64(meta[pageHeader+56:]) {
			c.find("meta page %d is damaged: the last write may be missing", number)
		}
	}
	return nil
}

// find adds a finding. It reports whether the check goes on.
func (c *checker) find(format string, args ...any) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, fmt.Errorf(format, args...))
	}
}

func (c *checker) full() bool { return len(c.findings) == maxFindings }

func (c *checker) readAt(at, length uint64) ([]byte, error) {
	data := make([]byte, length)
	if _, err := c.file.ReadAt(data, int64(at)); err != nil {
		return nil, fmt.Errorf("reading %d bytes at %d: %w", length, at, err)
	}
	return data, nil
}

// page reads a page with the further ones that belong to it, and marks them as used. It
// returns nil when the page is damaged.
func (c *checker) page(number uint64, types ...uint16) []byte {
	if number >= uint64(len(c.uses)) {
		c.find("page %d is outside of the file", number)
		return nil
	}
	header, err := c.readAt(number*c.pageSize, pageHeader)
	if err != nil {
		c.find("page %d: %w", number, err)
		return nil
	}
	further := uint64(binary.NativeEndian.Uint32(header[12:]))
	if got := binary.NativeEndian.Uint64(header); got != number {
		c.find("page %d says that it is page %d", number, got)
		return nil
	}
	if further >= uint64(len(c.uses))-number {
		c.find("page %d says that it has %d further pages", number, further)
		return nil
	}
	if !slices.Contains(types, binary.NativeEndian.Uint16(header[8:])) {
		c.find("page %d has the type %#x", number, binary.NativeEndian.Uint16(header[8:]))
		return nil
	}
	for i := range further + 1 {
		if c.uses[number+i] != unused {
			c.find("page %d is used twice, or free", number+i)
			return nil
		}
		c.uses[number+i] = inTree
	}
	c.left -= int(further) + 1
	data, err := c.readAt(number*c.pageSize, (further+1)*c.pageSize)
	if err != nil {
		c.find("page %d: %w", number, err)
	}
	return data
}

// checkFreelist marks the free pages. Their number is the first entry of the list if it
// does not fit into the header.
func (c *checker) checkFreelist(number uint64) {
	data := c.page(number, freelistPage)
	if data == nil {
		return
	}
	count := uint64(binary.NativeEndian.Uint16(data[10:]))
	list := data[pageHeader:]
	if count == 0xffff {
		count, list = binary.NativeEndian.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		c.find("page %d lists %d free pages and has room for fewer", number, count)
		return
	}
	for i := range count {
		id := binary.NativeEndian.Uint64(list[8*i:])
		if id >= uint64(len(c.uses)) || c.uses[id] != unused {
			c.find("page %d lists the page %d as free, which is used, free already or outside of the file", number, id)
			continue
		}
		c.uses[id] = free
	}
}

// checkTree checks a page and those below it. Their keys are at least least, and less
// than most, unless these are nil.
func (c *checker) checkTree(number uint64, least, most []byte, depth int) {
	if c.full() {
		return
	}
	if depth > maxTree {
		c.find("page %d is nested more than %d times", number, maxTree)
		return
	}
	if data := c.page(number, branchPage, leafPage); data != nil {
		c.checkElements(number, data, least, most, depth)
	}
}

// element is an element of a page; of a branch with the page below it.
type element struct {
	key, value []byte
	bucket     bool
	child      uint64
}

// checkElements checks the elements of a page, and the pages below.
func (c *checker) checkElements(number uint64, data, least, most []byte, depth int) {
	branch := binary.NativeEndian.Uint16(data[8:]) == branchPage
	count := int(binary.NativeEndian.Uint16(data[10:]))
	if pageHeader+count*elementSize > len(data) || branch && count == 0 {
		c.find("page %d has %d elements", number, count)
		return
	}
	elements := make([]element, count)
	for i := range elements {
		var ok bool
		if elements[i], ok = readElement(data, i, branch); !ok {
			c.find("element %d of page %d is outside of its page", i, number)
			return
		}
		key := elements[i].key
		if i > 0 && bytes.Compare(elements[i-1].key, key) >= 0 || i == 0 && bytes.Compare(key, least) < 0 || most != nil && bytes.Compare(key, most) >= 0 {
			c.find("the keys of page %d are not in order", number)
			return
		}
	}
	for i, e := range elements {
		next := most
		if branch && i+1 < count {
			next = elements[i+1].key
		}
		switch {
		case branch && c.passes(e.key, next):
		case branch:
			c.checkTree(e.child, e.key, next, depth+1)
		case e.bucket:
			c.within = append(c.within, string(e.key))
			c.checkBucket(number, e.value, depth)
			c.within = c.within[:len(c.within)-1]
		default:
			c.checkEntry(number, e)
		}
	}
}

// passes reports whether a slice leaves out the page that begins at a key: one that an
// earlier slice has checked, or one that a later slice checks.
func (c *checker) passes(key, most []byte) bool {
	switch {
	case !c.shallow || c.next != nil:
		return c.shallow
	case most != nil && bytes.Compare(most, c.after) <= 0:
		return true
	case c.left > 0:
		return false
	}
	c.next = bytes.Clone(key)
	return true
}

// checkEntry checks an entry of the data of a partition.
func (c *checker) checkEntry(number uint64, e element) {
	if len(c.within) != 2 || c.within[1] != string(dataBucket) || c.full() {
		return
	}
	_, value, err := decode(e.value)
	if err == nil && c.record != nil {
		err = c.record(c.within[0][1:], e.key, value)
	}
	if err != nil {
		c.find("page %d: %w", number, err)
	}
}

func readElement(data []byte, i int, branch bool) (e element, ok bool) {
	at := pageHeader + i*elementSize
	field := func(n int) uint64 { return uint64(binary.NativeEndian.Uint32(data[at+4*n:])) }
	position, keySize, valueSize := field(1), field(2), field(3)
	if branch {
		position, keySize, valueSize = field(0), field(1), 0
		e.child = binary.NativeEndian.Uint64(data[at+8:])
	} else {
		e.bucket = field(0)&bucketFlag != 0
	}
	start := uint64(at) + position
	if start+keySize+valueSize > uint64(len(data)) {
		return e, false
	}
	e.key, e.value = data[start:start+keySize], data[start+keySize:start+keySize+valueSize]
	return e, true
}

// checkBucket checks the bucket that is a value: its root's page and sequence, and if
// that is zero, the only page itself.
func (c *checker) checkBucket(number uint64, value []byte, depth int) {
	if len(value) < bucketHeader {
		c.find("page %d has a bucket of %d bytes", number, len(value))
		return
	}
	root, inline := binary.NativeEndian.Uint64(value), value[bucketHeader:]
	if root != 0 && c.shallow {
		return
	}
	if root != 0 {
		c.checkTree(root, nil, nil, depth+1)
		return
	}
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != leafPage || depth > maxTree {
		c.find("page %d has an inline bucket that is not valid", number)
		return
	}
	c.checkElements(number, inline, nil, nil, depth+1)
}
