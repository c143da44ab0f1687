// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// dockerContainer is a container as the engine lists it (Docker Engine API 1.43, ContainerList).
type dockerContainer struct {
	ID     string `json:"Id"`
	Names  []string
	Labels map[string]string
	// State is running, paused and others. Status is a text such as "Up 5 minutes (healthy)".
	State, Status string
	Ports         []struct {
		PrivatePort int
		Type        string
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress, GlobalIPv6Address string }
	}
}

// errNotServing means that the container must not be a backend now.
var errNotServing = errors.New("the container does not serve")

// name returns the name of the container.
func (c *dockerContainer) name() string {
	if len(c.Names) == 0 {
		return c.shortID()
	}
	return strings.TrimPrefix(c.Names[0], "/")
}

func (c *dockerContainer) shortID() string { return c.ID[:min(len(c.ID), 12)] }

// endpoint returns the backend of a container; the error says why the container is not a backend.
func (w *dockerWatch) endpoint(c *dockerContainer) (e Endpoint, err error) {
	stops := w.podman && c.State == "stopping"
	if c.State != "running" && !stops {
		return e, errNotServing
	}
	switch {
	case stops, strings.Contains(c.Status, "(healthy)"):
	case strings.Contains(c.Status, "(unhealthy)"), strings.Contains(c.Status, "(health: starting)"), strings.Contains(c.Status, "(starting)"):
		return e, errNotServing
	case w.Healthy:
		return e, errors.New("it has no health check")
	}
	ip, err := w.address(c)
	if err != nil {
		return e, err
	}
	port, err := w.port(c)
	if err != nil {
		return e, err
	}
	e = Endpoint{Address: net.JoinHostPort(ip, strconv.Itoa(port)), Draining: stops}
	e.ID, e.Instance = c.name(), c.ID
	options := maps.Clone(c.Labels)
	delete(options, dockerLabels+"port")
	delete(options, dockerLabels+"network")
	return e, e.labels(options, dockerLabels)
}

// address returns the IP address of a container.
func (w *dockerWatch) address(c *dockerContainer) (string, error) {
	networks := c.NetworkSettings.Networks
	name := cmp.Or(w.Network, c.Labels[dockerLabels+"network"])
	if name == "" {
		if len(networks) != 1 {
			return "", fmt.Errorf("it has the networks %s; write `network <name>`", strings.Join(slices.Sorted(maps.Keys(networks)), ", "))
		}
		for name = range networks {
		}
	}
	n, ok := networks[name]
	switch {
	case !ok:
		return "", fmt.Errorf("it is not in the network %s", name)
	case name == "host":
		return "127.0.0.1", nil
	}
	if ip := cmp.Or(n.IPAddress, n.GlobalIPv6Address); net.ParseIP(ip) != nil {
		return ip, nil
	}
	return "", fmt.Errorf("it has no address in the network %s", name)
}

// port returns the port of a container.
func (w *dockerWatch) port(c *dockerContainer) (int, error) {
	if w.Port != 0 {
		return w.Port, nil
	}
	if text, ok := c.Labels[dockerLabels+"port"]; ok {
		return ports.Parse(dockerLabels+"port", text)
	}
	exposed := make(map[int]bool)
	for _, p := range c.Ports {
		if p.Type == "tcp" || p.Type == "" {
			exposed[p.PrivatePort] = true // once for each published address
		}
	}
	if len(exposed) != 1 {
		return 0, fmt.Errorf("it exposes %d TCP ports; write `port <port>`, or give it the label ballast.port", len(exposed))
	}
	for port := range exposed {
		return port, nil
	}
	return 0, nil
}

func encode(v any) string {
	text, _ := json.Marshal(v) // maps and slices of strings
	return string(text)
}
