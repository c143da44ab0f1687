// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// palette is the palette of Okabe and Ito for the color-blind, without the colors that are faint on
// white. Series also differ in their dashes and in the order of the legend.
var palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 0xff}, // blue
	{0xd5, 0x5e, 0x00, 0xff}, // vermilion
	{0x00, 0x9e, 0x73, 0xff}, // green
	{0xcc, 0x79, 0xa7, 0xff}, // purple
	{0xe6, 0x9f, 0x00, 0xff}, // orange
	{0x56, 0xb4, 0xe9, 0xff}, // sky blue
	{0x00, 0x00, 0x00, 0xff},
}

// dashes of the series, in points. The first line is solid.
var dashes = [][]vg.Length{nil, {6, 2}, {2, 2}, {8, 2, 2, 2}, {4, 4}, {1, 3}, {10, 3}}

var (
	ink  = color.Gray{0x33}
	grid = color.Gray{0xe4}
)

// bands are the colors of parts of an axis, in order.
var bands = []color.Gray{{0xec}, {0xd6}}

// size of a plot, of which the legend takes the right side.
const (
	plotWidth   = 8.6 * vg.Inch
	plotHeight  = 3.4 * vg.Inch
	legendWidth = 2.4 * vg.Inch
)

// Point is a point of a series.
type Point struct{ X, Y float64 }

// Series is a line of a plot.
type Series struct {
	Name   string
	Points []Point
}

// Band marks a part of the horizontal axis, such as the time that a backend is down.
type Band struct {
	Name     string
	From, To float64
}

// Chart is a plot with lines.
type Chart struct {
	Title string
	// X and Y are the labels of the axes, with their units.
	X, Y   string
	Series []Series
	Bands  []Band
	// LogX and LogY make axes logarithmic. Points that are not positive are then left out.
	LogX, LogY bool
	// Steps draws each value as a horizontal line up to the next, for counts by second.
	Steps bool
	// MaxY is the upper end of the vertical axis; 0 for the maximum of the points.
	MaxY float64
}

// BarChart is a plot with groups of bars.
type BarChart struct {
	Title string
	X, Y  string
	// Groups are the names below the bars, and Series one value for each.
	Groups []string
	Series []Bars
}

// Bars are the values of one series, in the order of the groups.
type Bars struct {
	Name   string
	Values []float64
}

func newPlot(title, x, y string) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font.Size, p.Title.TextStyle.Font.Weight = 12, 2
	p.Title.Padding = 8
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size = 11
		a.Label.TextStyle.Color, a.Tick.Label.Color = ink, ink
		a.Tick.Label.Font.Size = 10
		a.Label.Padding = 4
		a.Tick.Marker = roundTicks{}
		a.LineStyle.Color, a.Tick.LineStyle.Color = ink, ink
	}
	p.BackgroundColor = color.White
	lines := plotter.NewGrid()
	lines.Vertical.Color, lines.Horizontal.Color = grid, grid
	p.Add(lines)
	return p
}

// Save writes the chart as SVG.
func (c Chart) Save(file string) error {
	p := newPlot(c.Title, c.X, c.Y)
	legend := newLegend()
	var top, right float64
	for _, s := range c.Series {
		for _, pt := range s.Points {
			top, right = max(top, pt.Y), max(right, pt.X)
		}
	}
	if c.MaxY > 0 {
		top = c.MaxY
	} else if c.LogY {
		top *= 1.5
	} else {
		top *= 1.06
	}
	p.Y.Max = max(top, 1e-9)
	bottom := 0.0
	if c.LogY {
		bottom = c.least(func(pt Point) float64 { return pt.Y }) / 1.5
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, logTicks{}
	}
	p.Y.Min = bottom
	p.X.Min, p.X.Max = 0, max(right, 1e-9)
	if c.LogX {
		p.X.Min = c.least(func(pt Point) float64 { return pt.X })
		p.X.Max *= 1.1
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, logTicks{}
	}
	for i, b := range c.Bands {
		area, err := plotter.NewPolygon(plotter.XYs{{X: b.From, Y: bottom}, {X: b.To, Y: bottom}, {X: b.To, Y: p.Y.Max}, {X: b.From, Y: p.Y.Max}})
		if err != nil {
			return err
		}
		area.Color, area.LineStyle.Width = bands[i%len(bands)], 0
		p.Add(area)
		legend.Add(b.Name, swatch{bands[i%len(bands)]})
	}
	for i, s := range c.Series {
		points := make(plotter.XYs, 0, len(s.Points))
		for _, pt := range s.Points {
			if (!c.LogX || pt.X > 0) && (!c.LogY || pt.Y > 0) {
				points = append(points, plotter.XY{X: pt.X, Y: min(pt.Y, p.Y.Max)})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", c.Title, s.Name, err)
		}
		line.Color, line.Width, line.Dashes = palette[i%len(palette)], 1.6, dashes[i%len(dashes)]
		if c.Steps {
			line.StepStyle = plotter.PostStep
		}
		p.Add(line)
		legend.Add(s.Name, line)
	}
	return save(p, legend, file)
}

func (c Chart) least(of func(Point) float64) float64 {
	least := math.Inf(1)
	for _, s := range c.Series {
		for _, pt := range s.Points {
			if v := of(pt); v > 0 {
				least = min(least, v)
			}
		}
	}
	if math.IsInf(least, 1) {
		return 1e-3
	}
	return least
}

// Save writes the chart as SVG.
func (c BarChart) Save(file string) error {
	p := newPlot(c.Title, c.X, c.Y)
	legend := newLegend()
	width := vg.Length(math.Min(28, 330/float64(len(c.Groups)*(len(c.Series)+1))))
	var top float64
	for i, s := range c.Series {
		bars, err := plotter.NewBarChart(plotter.Values(s.Values), width)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", c.Title, s.Name, err)
		}
		bars.Color, bars.LineStyle.Width = palette[i%len(palette)], 0
		bars.Offset = width * vg.Length(float64(i)-float64(len(c.Series)-1)/2)
		p.Add(bars)
		legend.Add(s.Name, bars)
		for _, v := range s.Values {
			top = max(top, v)
		}
	}
	p.NominalX(c.Groups...)
	p.Y.Min, p.Y.Max = 0, max(top*1.06, 1e-9)
	return save(p, legend, file)
}

func newLegend() *plot.Legend {
	l := plot.NewLegend()
	l.Top, l.Left = true, true
	l.TextStyle.Font.Size, l.TextStyle.Color = 10, ink
	l.ThumbnailWidth, l.Padding = 24, 4
	return &l
}

// swatch is the picture of a band in a legend.
type swatch struct{ color.Color }

// Thumbnail implements [plot.Thumbnailer].
func (s swatch) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(s.Color, []vg.Point{{X: c.Min.X, Y: c.Min.Y}, {X: c.Min.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Max.X, Y: c.Min.Y}})
}

// save draws a plot with its legend beside it.
func save(p *plot.Plot, legend *plot.Legend, file string) error {
	canvas := vgsvg.New(plotWidth, plotHeight)
	all := draw.New(canvas)
	all.SetColor(color.White)
	all.Fill(all.Rectangle.Path())
	p.Draw(draw.Crop(all, 6, -legendWidth, 6, -6))
	legend.Draw(draw.Crop(all, plotWidth-legendWidth+12, 0, 0, -34))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(withFonts(out.String())), 0o644)
}

// withFonts adds similar fonts for machines without the font that texts were measured with.
func withFonts(svg string) string {
	return strings.NewReplacer(
		"font-family:Liberation Sans;", "font-family:'Liberation Sans',Arial,Helvetica,sans-serif;",
	).Replace(svg)
}
