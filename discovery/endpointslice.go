// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// endpointSlice is an EndpointSlice of discovery.k8s.io/v1, as far as it is used.
type endpointSlice struct {
	Metadata    struct{ Name, ResourceVersion string }
	AddressType string
	Ports       []struct {
		Name     *string
		Protocol *string
		Port     *int
	}
	Endpoints []sliceEndpoint
}

type sliceEndpoint struct {
	Addresses  []string
	Conditions struct{ Ready, Serving, Terminating *bool }
	TargetRef  *struct{ Kind, Name, UID string }
	Zone       string
	NodeName   string
}

// is returns a condition; a missing one has the default.
func is(condition *bool, missing bool) bool {
	if condition == nil {
		return missing
	}
	return *condition
}

// push pushes the backends of all slices. Of a pod with addresses of both families, it uses the IPv4 address. While
// endpoints move from one slice to another, both slices may contain them.
func (w *sliceWatch) push() {
	var u Update
	known := make(map[string]bool) // uids of pods
	for _, family := range []string{"IPv4", "IPv6", "FQDN"} {
		found := make(map[string]bool)
		for _, name := range slices.Sorted(maps.Keys(w.slices)) {
			if s := w.slices[name]; s.AddressType == family {
				w.add(&u, s, known, found)
			}
		}
		maps.Copy(known, found)
	}
	w.update(u)
}

// add adds the endpoints of a slice, except those of known pods. It adds the pods to found.
func (w *sliceWatch) add(u *Update, s *endpointSlice, known, found map[string]bool) {
	port, err := w.portOf(s)
	if err != nil {
		if len(s.Endpoints) > 0 {
			u.ignore(s.Metadata.Name, err)
		}
		return
	}
	for i := range s.Endpoints {
		p := &s.Endpoints[i]
		terminating := is(p.Conditions.Terminating, false)
		if !is(p.Conditions.Ready, true) && !(terminating && is(p.Conditions.Serving, false)) {
			continue
		}
		uid := ""
		if p.TargetRef != nil {
			uid = p.TargetRef.UID
		}
		if uid != "" && known[uid] {
			continue
		}
		found[uid] = true
		for _, address := range p.Addresses[:min(len(p.Addresses), 1)] { // the others are alternatives
			e := Endpoint{Address: net.JoinHostPort(address, strconv.Itoa(port)), Draining: terminating}
			e.Instance = uid
			if p.TargetRef != nil {
				e.ID = p.TargetRef.Name
			}
			e.Zone = p.Zone
			if p.NodeName != "" {
				e.Meta = map[string]string{"node": p.NodeName}
			}
			u.Endpoints = append(u.Endpoints, e)
		}
	}
}

// portOf returns the port of the endpoints of a slice.
func (w *sliceWatch) portOf(s *endpointSlice) (int, error) {
	var names []string
	only := 0
	for _, p := range s.Ports {
		if p.Port == nil || p.Protocol != nil && *p.Protocol != "TCP" {
			continue
		}
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if w.port != "" && (w.port == name || w.port == strconv.Itoa(*p.Port)) {
			return *p.Port, nil
		}
		names, only = append(names, cmp.Or(name, strconv.Itoa(*p.Port))), *p.Port
	}
	switch {
	case w.port != "":
		return 0, fmt.Errorf("it has no TCP port %s, but %s", w.port, strings.Join(names, ", "))
	case len(names) != 1:
		return 0, fmt.Errorf("it has %d TCP ports: %s; write from kubernetes %s/%s:<port>", len(names), strings.Join(names, ", "), w.namespace, w.name)
	}
	return only, nil
}

// isEnd reports whether a stream has ended between two values.
func isEnd(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }
