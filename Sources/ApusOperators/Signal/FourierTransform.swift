import ApusCore
import Glibc

/// A discrete Fourier transform of a fixed length, in double precision, of complex numbers whose parts lie apart.
///
/// Lengths without large prime factors go through the self-sorting mixed-radix algorithm that Stockham devised ("High-speed
/// convolution and correlation", 1966; in the form that Swarztrauber's "FFT algorithms for vector computers" gives it).
/// All others are turned into a convolution of a length that is a power of two (Bluestein, "A linear filtering approach to
/// the computation of discrete Fourier transform", 1970).
package final class FourierTransform: @unchecked Sendable {
    package let length: Int
    private let radices: [Int]
    /// cos and sin of 2πk / length for k < length, then, for Bluestein's algorithm, the tables that it needs.
    private let tables: Storage
    private let convolution: FourierTransform?

    /// Doubles that `run` needs as scratch memory.
    package let workspaceCount: Int

    /// Makes the tables; their memory counts against the budget. `length` must be at least 1.
    package init(length: Int, budget: MemoryBudget) throws {
        guard length >= 1 else { throw ApusError(.invalidValue, "a Fourier transform has at least 1 point, not \(length)") }
        self.length = length
        var rest = length, radices: [Int] = []
        // Larger primes would cost more as butterflies than as a convolution.
        for radix in [4, 2, 3, 5, 7, 11, 13] {
            while rest % radix == 0 {
                radices.append(radix)
                rest /= radix
            }
        }
        if rest == 1 {
            self.radices = radices
            convolution = nil
            workspaceCount = try length.multiplied(by: 2)
            tables = try Storage.allocate(byteCount: length.multiplied(by: 16), budget: budget, purpose: "the roots of unity")
            let roots = tables.base.assumingMemoryBound(to: Double.self)
            for k in 0..<length { FourierTransform.root(k, length, &roots[k], &roots[length + k]) }
            return
        }
        self.radices = []
        let needed = try length.multiplied(by: 2)
        var size = 1
        while size < needed { size = try size.multiplied(by: 2) }
        let inner = try FourierTransform(length: size, budget: budget)
        convolution = inner
        // Two arrays to convolve in, and the inner transform's own.
        workspaceCount = try size.multiplied(by: 2).adding(inner.workspaceCount)
        tables = try Storage.allocate(
            byteCount: length.multiplied(by: 16).adding(size.multiplied(by: 16)), budget: budget, purpose: "the tables of a Fourier transform")
        let chirp = tables.base.assumingMemoryBound(to: Double.self), spectrum = chirp + 2 * length
        spectrum.update(repeating: 0, count: 2 * size)
        // k² modulo 2 * length, by differences: it never overflows.
        var square = 0
        for k in 0..<length {
            FourierTransform.root(square, needed, &chirp[k], &chirp[length + k])
            spectrum[k] = chirp[k]
            spectrum[size + k] = chirp[length + k]
            if k > 0 {
                spectrum[size - k] = chirp[k]
                spectrum[2 * size - k] = chirp[length + k]
            }
            square = (square + 2 * k + 1) % needed
        }
        let scratch = try Storage.allocate(byteCount: inner.workspaceCount.multiplied(by: 8), budget: budget, purpose: "a Fourier transform")
        inner.run(spectrum, spectrum + size, scratch.base.assumingMemoryBound(to: Double.self))
    }

    /// cos and sin of 2πk / n, of an angle of at most π / 4 for accuracy.
    private static func root(_ k: Int, _ n: Int, _ cosine: inout Double, _ sine: inout Double) {
        let octant = Int((Double(k) / Double(n) * 8).rounded(.down)) & 7
        let part = Double(k) / Double(n)
        let quarter = (octant + 1) / 2
        let angle = 2 * Double.pi * (part - Double(quarter) / 4)
        let (c, s) = (cos(angle), sin(angle))
        switch quarter & 3 {
        case 0: (cosine, sine) = (c, s)
        case 1: (cosine, sine) = (-s, c)
        case 2: (cosine, sine) = (-c, -s)
        default: (cosine, sine) = (s, -c)
        }
    }

    /// Transforms in place: X[k] = Σ x[n] exp(-2πi kn / length). `scratch` has `workspaceCount` elements.
    ///
    /// With the parts exchanged it is the inverse, times `length`.
    package func run(_ re: UnsafeMutablePointer<Double>, _ im: UnsafeMutablePointer<Double>, _ scratch: UnsafeMutablePointer<Double>) {
        if let convolution { return runBluestein(convolution, re, im, scratch) }
        var source = (re: re, im: im), target = (re: scratch, im: scratch + length)
        var size = length, stride = 1
        for radix in radices {
            pass(radix, size, stride, source.re, source.im, target.re, target.im)
            size /= radix
            stride *= radix
            swap(&source, &target)
        }
        if source.re != re {
            re.update(from: source.re, count: length)
            im.update(from: source.im, count: length)
        }
    }

    /// One pass over `size * stride` numbers: butterflies of `radix` points, `size / radix` different twiddle factors.
    private func pass(
        _ radix: Int, _ size: Int, _ stride: Int, _ xr: UnsafePointer<Double>, _ xi: UnsafePointer<Double>,
        _ yr: UnsafeMutablePointer<Double>, _ yi: UnsafeMutablePointer<Double>
    ) {
        let m = size / radix
        let cosines = UnsafePointer(tables.base.assumingMemoryBound(to: Double.self)), sines = cosines + length
        for k in 0..<m {
            let x = stride * k, y = stride * radix * k, step = k * stride
            switch radix {
            case 2:
                let (c, s) = (cosines[step], sines[step])
                let a = x, b = x + stride * m
                for q in 0..<stride {
                    let (dr, di) = (xr[a + q] - xr[b + q], xi[a + q] - xi[b + q])
                    yr[y + q] = xr[a + q] + xr[b + q]
                    yi[y + q] = xi[a + q] + xi[b + q]
                    yr[y + stride + q] = dr * c + di * s
                    yi[y + stride + q] = di * c - dr * s
                }
            case 4:
                let (c1, s1) = (cosines[step], sines[step])
                let (c2, s2) = (cosines[2 * step], sines[2 * step])
                let (c3, s3) = (cosines[3 * step], sines[3 * step])
                let d = stride * m
                for q in 0..<stride {
                    let p = x + q, t = y + q
                    let (sr, si) = (xr[p] + xr[p + 2 * d], xi[p] + xi[p + 2 * d])
                    let (dr, di) = (xr[p] - xr[p + 2 * d], xi[p] - xi[p + 2 * d])
                    let (ur, ui) = (xr[p + d] + xr[p + 3 * d], xi[p + d] + xi[p + 3 * d])
                    let (vr, vi) = (xr[p + d] - xr[p + 3 * d], xi[p + d] - xi[p + 3 * d])
                    yr[t] = sr + ur
                    yi[t] = si + ui
                    let (ar, ai) = (dr + vi, di - vr)
                    yr[t + stride] = ar * c1 + ai * s1
                    yi[t + stride] = ai * c1 - ar * s1
                    let (br, bi) = (sr - ur, si - ui)
                    yr[t + 2 * stride] = br * c2 + bi * s2
                    yi[t + 2 * stride] = bi * c2 - br * s2
                    let (er, ei) = (dr - vi, di + vr)
                    yr[t + 3 * stride] = er * c3 + ei * s3
                    yi[t + 3 * stride] = ei * c3 - er * s3
                }
            default:
                let d = stride * m, unit = length / radix
                for t in 0..<radix {
                    let (c, s) = (cosines[t * step], sines[t * step])
                    for q in 0..<stride {
                        var (sr, si) = (xr[x + q], xi[x + q]), phase = 0
                        for r in 1..<radix {
                            phase += t
                            if phase >= radix { phase -= radix }
                            let (wc, ws) = (cosines[phase * unit], sines[phase * unit])
                            let (ar, ai) = (xr[x + r * d + q], xi[x + r * d + q])
                            sr += ar * wc + ai * ws
                            si += ai * wc - ar * ws
                        }
                        yr[y + t * stride + q] = sr * c + si * s
                        yi[y + t * stride + q] = si * c - sr * s
                    }
                }
            }
        }
    }

    private func runBluestein(
        _ inner: FourierTransform, _ re: UnsafeMutablePointer<Double>, _ im: UnsafeMutablePointer<Double>,
        _ scratch: UnsafeMutablePointer<Double>
    ) {
        let size = inner.length
        let chirp = UnsafePointer(tables.base.assumingMemoryBound(to: Double.self)), spectrum = chirp + 2 * length
        let ar = scratch, ai = scratch + size, rest = scratch + 2 * size
        ar.update(repeating: 0, count: 2 * size)
        for k in 0..<length {
            let (c, s) = (chirp[k], chirp[length + k])
            ar[k] = re[k] * c + im[k] * s
            ai[k] = im[k] * c - re[k] * s
        }
        inner.run(ar, ai, rest)
        for k in 0..<size {
            let (pr, pi) = (ar[k], ai[k]), (br, bi) = (spectrum[k], spectrum[size + k])
            ar[k] = pr * br - pi * bi
            ai[k] = pr * bi + pi * br
        }
        inner.run(ai, ar, rest)
        let scale = 1 / Double(size)
        for k in 0..<length {
            let (c, s) = (chirp[k], chirp[length + k])
            re[k] = (ar[k] * c + ai[k] * s) * scale
            im[k] = (ai[k] * c - ar[k] * s) * scale
        }
    }
}
