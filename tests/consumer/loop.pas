{ SPDX-License-Identifier: BSD-3-Clause }
{ Acquisition software in Delphi or Free Pascal: fpc -Mdelphi loop.pas, with libprobewise where the linker looks. }
program loop;

{$MINENUMSIZE 4}

type
  TOptions = record
    struct_size: Cardinal;
    kernel, policy: Integer;
    start, rows, cols, border, scan_rows, scan_cols, retries, bad_frames_running, reserved: Cardinal;
    seed: UInt64;
    fov_nm_y, fov_nm_x, side_nm, lengthscale_pitches, noise, beta, xi, threshold, low, high, saturation,
      max_saturated: Double;
  end;
  TVisit = record
    step: UInt64;
    site: Int64;
    yx: PDouble;
    samples: NativeUInt;
  end;
  TStep = record
    step: UInt64;
    site: Int64;
    value: Double;
    digest: UInt64;
    refusal, reserved: Cardinal;
  end;
  TMessage = array[0..255] of AnsiChar;

const
  Core = 'probewise';

procedure probewise_loop_defaults(var options: TOptions); cdecl; external Core;
function probewise_loop_create(var options: TOptions; var handle: Pointer; text: PAnsiChar; size: NativeUInt): Integer;
  cdecl; external Core;
procedure probewise_loop_destroy(handle: Pointer); cdecl; external Core;
function probewise_loop_visit(handle: Pointer; var visit: TVisit; text: PAnsiChar; size: NativeUInt): Integer;
  cdecl; external Core;
function probewise_loop_judge(handle: Pointer; counts: PSingle; samples: NativeUInt; var refusal: Cardinal;
  text: PAnsiChar; size: NativeUInt): Integer; cdecl; external Core;
function probewise_loop_tell(handle: Pointer; value: Double; var step: TStep; text: PAnsiChar; size: NativeUInt): Integer;
  cdecl; external Core;
function probewise_loop_refuse(handle: Pointer; refusal: Cardinal; var step: TStep; text: PAnsiChar;
  size: NativeUInt): Integer; cdecl; external Core;

var
  options: TOptions;
  handle: Pointer;
  visit: TVisit;
  step: TStep;
  text: TMessage;
  counts: array of Single;
  refusal: Cardinal;
  best, sum, y, x: Double;
  n, i: Integer;

procedure Check(status: Integer);
begin
  if status <> 0 then
  begin
    WriteLn('status ', status, ': ', PAnsiChar(@text));
    Halt(1);
  end;
end;

begin
  probewise_loop_defaults(options);
  if options.struct_size <> SizeOf(options) then Halt(3);
  options.scan_rows := 16;
  options.scan_cols := 16;
  SetLength(counts, 256);
  best := 0;
  handle := nil;
  Check(probewise_loop_create(options, handle, text, SizeOf(text)));
  try
    for n := 1 to 60 do
    begin
      Check(probewise_loop_visit(handle, visit, text, SizeOf(text)));
      sum := 0;
      for i := 0 to visit.samples - 1 do { the scan: a bright pillar at (0.7, 0.3) }
      begin
        y := visit.yx[2 * i] - 0.7;
        x := visit.yx[2 * i + 1] - 0.3;
        counts[i] := 10 * Exp(-(y * y + x * x) / 0.02) + i mod 7;
        sum := sum + counts[i];
      end;
      Check(probewise_loop_judge(handle, @counts[0], visit.samples, refusal, text, SizeOf(text)));
      if refusal <> 0 then Check(probewise_loop_refuse(handle, refusal, step, text, SizeOf(text)))
      else Check(probewise_loop_tell(handle, sum / visit.samples, step, text, SizeOf(text)));
      if sum / visit.samples > best then best := sum / visit.samples;
    end;
  finally
    probewise_loop_destroy(handle); { and here the beam is blanked }
  end;
  if best <= 10 then Halt(2);
  WriteLn('60 steps of Pascal');
end.
