// SPDX-License-Identifier: BSD-3-Clause
// Acquisition software in C#: mcs Loop.cs && mono Loop.exe, with libprobewise where the runtime looks for libraries.
using System;
using System.Runtime.InteropServices;
using System.Text;

[StructLayout(LayoutKind.Sequential)]
struct Options
{
    public uint struct_size;
    public int kernel, policy;
    public uint start, rows, cols, border, scan_rows, scan_cols, retries, bad_frames_running, reserved;
    public ulong seed;
    public double fov_nm_y, fov_nm_x, side_nm, lengthscale_pitches, noise, beta, xi, threshold, low, high, saturation,
        max_saturated;
}

[StructLayout(LayoutKind.Sequential)]
struct Visit
{
    public ulong step;
    public long site;
    public IntPtr yx;
    public UIntPtr samples;
}

[StructLayout(LayoutKind.Sequential)]
struct Step
{
    public ulong step;
    public long site;
    public double value;
    public ulong digest;
    public uint refusal, reserved;
}

static class Probewise
{
    [DllImport("probewise")] public static extern uint probewise_abi_version();
    [DllImport("probewise")] public static extern void probewise_loop_defaults(ref Options options);
    [DllImport("probewise")] public static extern int probewise_loop_create(ref Options options, out IntPtr loop, StringBuilder message, UIntPtr size);
    [DllImport("probewise")] public static extern void probewise_loop_destroy(IntPtr loop);
    [DllImport("probewise")] public static extern int probewise_loop_visit(IntPtr loop, out Visit visit, StringBuilder message, UIntPtr size);
    [DllImport("probewise")] public static extern int probewise_loop_judge(IntPtr loop, float[] counts, UIntPtr samples, out uint refusal, StringBuilder message, UIntPtr size);
    [DllImport("probewise")] public static extern int probewise_loop_tell(IntPtr loop, double value, out Step step, StringBuilder message, UIntPtr size);
    [DllImport("probewise")] public static extern int probewise_loop_refuse(IntPtr loop, uint refusal, out Step step, StringBuilder message, UIntPtr size);
}

static class Program
{
    static readonly StringBuilder message = new StringBuilder(256);
    static readonly UIntPtr room = (UIntPtr)256;

    static void Check(int status)
    {
        if (status != 0) throw new Exception("status " + status + ": " + message);
    }

    static int Main()
    {
        var options = new Options();
        Probewise.probewise_loop_defaults(ref options);
        if (options.struct_size != Marshal.SizeOf(typeof(Options))) throw new Exception("the structure has changed");
        options.scan_rows = options.scan_cols = 16;
        IntPtr loop;
        Check(Probewise.probewise_loop_create(ref options, out loop, message, room));
        double best = 0;
        try
        {
            for (int n = 0; n < 60; ++n)
            {
                Visit visit;
                Step step;
                uint refusal;
                Check(Probewise.probewise_loop_visit(loop, out visit, message, room));
                var yx = new double[2 * (int)visit.samples];
                Marshal.Copy(visit.yx, yx, 0, yx.Length);
                var counts = new float[(int)visit.samples]; // the scan: a bright pillar at (0.7, 0.3)
                double sum = 0;
                for (int i = 0; i < counts.Length; ++i)
                {
                    double y = yx[2 * i] - 0.7, x = yx[2 * i + 1] - 0.3;
                    counts[i] = (float)(10 * Math.Exp(-(y * y + x * x) / 0.02) + i % 7);
                    sum += counts[i];
                }
                Check(Probewise.probewise_loop_judge(loop, counts, visit.samples, out refusal, message, room));
                if (refusal != 0) Check(Probewise.probewise_loop_refuse(loop, refusal, out step, message, room));
                else Check(Probewise.probewise_loop_tell(loop, sum / counts.Length, out step, message, room));
                best = Math.Max(best, sum / counts.Length);
            }
        }
        finally
        {
            Probewise.probewise_loop_destroy(loop); // and here the beam is blanked
        }
        options.side_nm = -1;
        if (Probewise.probewise_loop_create(ref options, out loop, message, room) != 2 || !message.ToString().Contains("side_nm")) return 1;
        Console.WriteLine("60 steps of C#");
        return best > 10 ? 0 : 2;
    }
}
