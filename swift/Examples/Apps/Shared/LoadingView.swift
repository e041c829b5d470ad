import MLXEngine
import SwiftUI

/// What a load is doing, how far it is, and a way to stop it.
struct LoadingView: View {
    let loader: ModelLoader

    var body: some View {
        if loader.phase != nil {
            HStack {
                if let error = loader.error {
                    Label(error.localizedDescription, systemImage: "exclamationmark.triangle")
                        .foregroundStyle(.red)
                } else if loader.isLoading {
                    ProgressView(value: loader.estimatedProgress) {
                        Text(loader.status).font(.caption)
                    }
                    Button("Cancel", systemImage: "xmark.circle.fill", action: loader.cancel)
                        .labelStyle(.iconOnly)
                }
            }
            .padding(.horizontal)
        }
    }
}
