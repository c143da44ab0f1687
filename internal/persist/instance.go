// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// Several processes may share one data directory: those of one user, or the old and the new
// process during a restart. Each has a file of its own in the storage, so that none overwrites
// the changes that an operator made in another. A lock file in the data directory numbers the
// process; the system releases the lock when the process ends. The lock file records how the
// process was started, so that a process finds its own number again whatever the order in which
// the processes start.

// maxInstances is the maximum number of processes with one data directory.
const maxInstances = 32

// instanceLocks are the locks that this process holds, by data directory.
var instanceLocks struct {
	mu   sync.Mutex
	held map[string]*instanceLock
}

// instanceLock is the number of this process among those with one data directory. It is
// read-only.
type instanceLock struct {
	n    int // from 1
	lock *os.File
}

// errTaken reports that another process holds a lock.
var errTaken = errors.New("another process holds the lock")

func lockPath(dir string, n int) string {
	return filepath.Join(dir, "ballast", fmt.Sprintf("instance-%d.lock", n))
}

// instanceLockOf returns the number of this process, and those of running processes that were
// started in the same way. The process keeps the number until it ends, but a lock file is
// created only with create.
func instanceLockOf(dir string, create bool) (n int, duplicates []int, err error) {
	instanceLocks.mu.Lock()
	defer instanceLocks.mu.Unlock()
	if s := instanceLocks.held[dir]; s != nil {
		return s.n, nil, nil
	}
	s, duplicates, err := acquireInstance(dir, startedAs(), create)
	if err != nil || s.lock == nil {
		return s.n, duplicates, err
	}
	if instanceLocks.held == nil {
		instanceLocks.held = make(map[string]*instanceLock)
	}
	instanceLocks.held[dir] = &s
	return s.n, duplicates, nil
}

// acquireInstance takes the free number of a process that was started in the same way, or else
// the first free number. Where files cannot be locked, that is the first.
func acquireInstance(dir, own string, create bool) (best instanceLock, duplicates []int, err error) {
	matched, end := false, false
	for n := 1; n <= maxInstances && !end; n++ {
		f, as, err := openLock(lockPath(dir, n), false)
		switch {
		case errors.Is(err, errTaken):
			if as == own {
				duplicates = append(duplicates, n)
			}
			continue
		case errors.Is(err, fs.ErrNotExist):
			if best.n == 0 {
				best.n = n
			}
			end = true // no process has had a higher number
		case err != nil:
			best.n, end = max(best.n, 1), true
		case best.n == 0, as == own && !matched:
			if best.lock != nil {
				best.lock.Close()
			}
			best, matched = instanceLock{n, f}, as == own
		default:
			f.Close()
		}
	}
	for best.lock == nil && create && best.n > 0 && best.n <= maxInstances {
		f, _, err := openLock(lockPath(dir, best.n), true)
		if best.lock = f; !errors.Is(err, errTaken) {
			break
		}
		best.n++ // another process was faster
	}
	switch {
	case best.n == 0 || best.n > maxInstances:
		return best, nil, fmt.Errorf("%d processes already keep their state in %s", maxInstances, dir)
	case best.lock != nil && create: // without create, the order in which the processes start decides
		_ = best.lock.Truncate(0)
		_, _ = best.lock.WriteAt([]byte(own), 0)
	}
	return best, duplicates, nil
}

// openLock locks a file and returns its content, also if another process holds the lock.
func openLock(path string, create bool) (f *os.File, says string, err error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, "", err
		}
	}
	if f, err = os.OpenFile(path, flags, 0o600); err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err == nil {
		err = lock(f)
	}
	if err != nil {
		f.Close()
		return nil, string(text), err
	}
	return f, string(text), nil
}

// startedAs describes how this process was started: the working directory and the arguments.
func startedAs() string {
	args := slices.Clone(os.Args[1:])
	if i := slices.Index(args, "--pingback"); i >= 0 && i+1 < len(args) { // `caddy start` adds it, with a new value each time
		args = slices.Delete(args, i, i+2)
	}
	dir, _ := os.Getwd()
	return strings.Join(append([]string{dir}, args...), "\n")
}

// stateFile returns the key of this process's file, and those of running processes that were
// started in the same way: a process that takes over from another begins with the state that
// the other has saved. An instance without an id has no file; with create it gets an id.
func stateFile(create bool) (own string, duplicates []string, err error) {
	dir := caddy.AppDataDir()
	if !create {
		if _, err := os.Stat(filepath.Join(dir, "instance.uuid")); err != nil {
			return "", nil, fs.ErrNotExist
		}
	}
	id, err := caddy.InstanceID()
	if err != nil {
		return "", nil, fmt.Errorf("getting the id of this instance from Caddy's data directory: %w", err)
	}
	n, others, err := instanceLockOf(dir, create)
	if err != nil {
		return "", nil, fmt.Errorf("assigning a number to this process in Caddy's data directory: %w", err)
	}
	for _, n := range others {
		duplicates = append(duplicates, stateKey(id.String(), n))
	}
	return stateKey(id.String(), n), duplicates, nil
}

func stateKey(id string, n int) string {
	if n > 1 {
		id = fmt.Sprint(id, "-", n)
	}
	return keptUnder + "/" + id + keptAs
}
