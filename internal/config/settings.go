package config

import (
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"github.com/serialvisor/serialvisor/internal/devices"
	"github.com/serialvisor/serialvisor/internal/serialio"
)

// settings are the fields of a port that say how its device is set. at gets where each stands.
func (c *collector) settings(s *serialio.Settings, at map[string]ast.Node) []field {
	fields := []field{
		{"dtr", c.level(&s.DTR)},
		{"rts", c.level(&s.RTS)},
		{"low_latency", c.toggle(&s.LowLatency)},
		{"rs485", func(key string, n ast.Node) { c.rs485(key, n, &s.RS485) }},
	}
	for _, name := range serialio.SettingNames {
		fields = append(fields, field{name, func(key string, n ast.Node) {
			if !isScalar(n) {
				c.fail(n, key, "%s is not a single value", described(n))
			} else if err := s.Line.Set(name, text(n)); err != nil {
				c.fail(n, key, "%v", err)
			}
		}})
	}
	for i := range fields {
		take := fields[i].take
		fields[i].take = func(key string, n ast.Node) {
			at[fields[i].name] = n
			take(key, n)
		}
	}
	return fields
}

// checkSettings finds settings that do not go together.
func (c *collector) checkSettings(key string, at map[string]ast.Node, s serialio.Settings) {
	if err := s.Line.Validate(); err != nil {
		c.fail(at["stop_bits"], key+".stop_bits", "%v", err)
	}
	flow := s.Line.FlowControl == serialio.FlowRTSCTS
	if flow && s.RTS == serialio.Off {
		c.fail(at["rts"], key+".rts", "off does not go with flow_control: rtscts, where the driver switches RTS; leave it out")
	}
	if flow && s.RS485.Enabled {
		c.fail(at["rs485"], key+".rs485", "it does not go with flow_control: rtscts, as RTS switches the transceiver; use flow_control: none")
	}
}

// level takes what a modem line is to be after opening. YAML 1.1 had on and off as booleans, so true and false are taken too.
func (c *collector) level(to *serialio.Level) func(string, ast.Node) {
	words := c.choice([]string{"on", "off", "keep"}, func(s string) { *to = serialio.Level(s) })
	return func(key string, n ast.Node) {
		switch {
		case isScalar(n) && text(n) == "true":
			*to = serialio.On
		case isScalar(n) && text(n) == "false":
			*to = serialio.Off
		default:
			words(key, n)
		}
	}
}

// toggle takes a truth value.
func (c *collector) toggle(to *bool) func(string, ast.Node) {
	return c.choice([]string{"true", "false"}, func(s string) { *to = s == "true" })
}

func (c *collector) rs485(key string, n ast.Node, to *serialio.RS485) {
	present := c.mapping(n, key,
		field{"enabled", c.toggle(&to.Enabled)},
		field{"rts_on_send", c.toggle(&to.RTSOnSend)},
		field{"delay_before_ms", c.number(0, 1000, func(v int64) { to.DelayBeforeMS = int(v) })},
		field{"delay_after_ms", c.number(0, 1000, func(v int64) { to.DelayAfterMS = int(v) })},
	)
	if !present["enabled"] && isMapping(n) {
		c.fail(n, key+".enabled", "missing; use true or false")
	}
}

// usb takes what identifies a device on the USB. It is nil where something is wrong with it.
func (c *collector) usb(key string, n ast.Node) *devices.Identity {
	id, before := &devices.Identity{}, len(c.problems)
	present := c.mapping(n, key,
		field{"vid", c.usbID(&id.VID)},
		field{"pid", c.usbID(&id.PID)},
		field{"serial", c.str(&id.Serial)},
		field{"interface", c.number(0, 255, func(v int64) {
			number := int(v)
			id.Interface = &number
		})},
	)
	if len(present) == 0 && isMapping(n) {
		c.fail(n, key, "it names nothing; use vid, pid, serial or interface, as `supervisor ports` shows them")
	}
	if len(c.problems) > before {
		return nil
	}
	return id
}

// usbID takes a vendor's or product's number. It is hexadecimal, quoted or not: 0403 without quotes reads the same.
func (c *collector) usbID(to *string) func(string, ast.Node) {
	return func(key string, n ast.Node) {
		v, err := strconv.ParseUint(text(n), 16, 16)
		if !isScalar(n) || err != nil || len(text(n)) != 4 {
			c.fail(n, key, "%s is not four hexadecimal digits, such as \"0403\"", described(n))
			return
		}
		*to = formatUSBID(v)
	}
}

func formatUSBID(v uint64) string {
	digits := strconv.FormatUint(v, 16)
	return "0000"[len(digits):] + digits
}
